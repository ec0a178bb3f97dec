"""Disks of their own for the nodes of one test: an ext4 volume each, in a file, whose power can be cut. Needs root and loop devices.

A cut is the file system's own: from then on every write and sync fails, and what was not synced before is gone when the volume is
mounted again, names of files included. What the kernel had already written back stays, as on a disk.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = (2).to_bytes(4, "little")  # The journal's last transactions are gone too.
MIB = 1 << 20


def enter_own_mounts():
    """Runs this script again where its mounts are its own: they are gone when it ends, however it ends. Where that cannot be,
    it says so and ends."""
    if os.environ.get("OWN_MOUNTS"):
        return
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    try:
        command(*own, "true")
    except (AssertionError, OSError) as refused:
        print(f"NOT RUN: needs a system with mounts of its own: {refused}")
        sys.exit(0)
    os.environ["OWN_MOUNTS"] = "yes"
    os.execvp("unshare", [*own, sys.executable, *sys.argv])


def possible():
    """Why such disks cannot be used here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("mkfs.ext4"):
        return "needs mkfs.ext4 (e2fsprogs)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            disk = Disk(os.path.join(folder, "image"), os.path.join(folder, "disk"), 16 * MIB)
        except AssertionError as refused:
            return f"needs a system that mounts a file (loop device, ext4): {refused}"
        try:
            disk.cut_power()
        except OSError as refused:
            return f"needs a system whose ext4 can be shut down: {refused}"
        finally:
            disk.unmount()
    return None


def fill(path):
    """Takes what is free, to the last byte."""
    with open(path, "wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
        os.fsync(file.fileno())


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"


class Disk:
    def __init__(self, image, folder, size):
        self.image, self.folder = image, folder
        with open(image, "wb") as file:
            file.truncate(size)
        command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        os.makedirs(folder)
        self.mount()

    def mount(self):
        command("mount", "-t", "ext4", "-o", "loop", self.image, self.folder)

    def unmount(self):
        command("umount", self.folder)

    def cut_power(self):
        opened = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(opened)
