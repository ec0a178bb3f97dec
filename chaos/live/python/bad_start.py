"""Starts that must not succeed: each ends with its exit code and names what is wrong and what to do."""

import os
import re
import shutil
import sys

import pulsar
from region import Region, run

IO, BUSY, CONFIG, USAGE = 70, 75, 78, 2


def check(what, outcome, code, *words):
    got, out, error = outcome
    assert got == code, f"{what}: exit {got}, not {code}: {error}"
    assert "ready " not in out, (what, out)
    for word in words:
        assert word in error, f"{what}: '{word}' is missing in: {error}"
    assert "panicked" not in error and "Error {" not in error, (what, error)


def start(folder, *flags):
    return run("server", "--data", folder, "--pulsar-port", "0", "--http-port", "0", "--quic-port", "0", *flags)


def check_second_process(region, folder):
    check("a second process", start(region.folder), BUSY, region.folder, "stop it", "--data")
    port = str(region.ports["pulsar"])
    taken = run("server", "--data", os.path.join(folder, "other"), "--pulsar-port", port, "--http-port", "0", "--quic-port", "0")
    check("a taken port", taken, IO, port, "--pulsar-port")
    assert region.http("GET", "/admin/v2/brokers/health") == "ok"
    region.client().create_producer("persistent://public/default/after").send(b"still here")


def check_files(folder):
    """Each line of a configuration that is wrong, and what the message must hold: file, line, key, rule, remedy."""
    wrong = {
        "[server]\nregon = 'x'": ("config.toml:2", "server.regon", "did you mean", "server.region"),
        "[server]\npulsar_port = 'many'": ("config.toml:2", "server.pulsar_port", "'many'", "whole number"),
        "[server]\nhttp_port = 70000": ("config.toml:2", "server.http_port", "70000", "16 bits"),
        "[server]\nregion_number = 300": ("config.toml:2", "server.region_number", "1 to 255"),
        "[server]\nregion = 'a b'": ("config.toml:2", "server.region", "letters"),
        "[server]\nbind = 'here'": ("config.toml:2", "server.bind"),
        "[server]\ninsecure = 'yes'": ("config.toml:2", "server.insecure", "true nor false"),
        "[server]\nmax_message_size = [1]": ("config.toml:2", "server.max_message_size"),
        "\n\n[sever]\nregion = 'x'": ("config.toml:4", "sever.region", "did you mean"),
        "[server\n": ("config.toml:1",),
        "[auth]\nauthentication_enabled = true": ("authenticationEnabled", "tokenSecretKey"),
        "[auth]\nauthorization_enabled = true": ("authorizationEnabled", "authenticationEnabled"),
        "[auth]\nauthentication_enabled = true\ntoken_secret_key = 'file:///nowhere/key'": ("tokenSecretKey", "/nowhere/key"),
        "[auth]\nauthentication_enabled = true\ntoken_secret_key = 'data:;base64,c2hvcnQ='": ("tokenSecretKey", "32"),
        "[auth]\ntoken_public_key = 'x'\ntoken_public_alg = 'XX9'": ("tokenPublicAlg", "XX9"),
        "[auth]\nauthentication_providers = ['ldap']": ("config.toml:2", "auth.authentication_providers", "'ldap'", "token"),
        "[tls]\npulsar_port = 6651": ("config.toml:2", "tls.pulsar_port", "not built"),
    }
    path = os.path.join(folder, "config.toml")
    for text, words in wrong.items():
        with open(path, "w") as file:
            file.write(text + "\n")
        check(text, start(os.path.join(folder, "unused"), "--config", path), CONFIG, *words)
    check("no file", start(os.path.join(folder, "unused"), "--config", "/nowhere.toml"), CONFIG, "/nowhere.toml")
    path = os.path.join(folder, "broker.conf")
    with open(path, "w") as file:
        file.write("# comment\nclusterName=a b\n")
    check("broker.conf", start(os.path.join(folder, "unused"), "--broker-conf", path), CONFIG, "broker.conf:2", "clusterName")
    assert not os.path.exists(os.path.join(folder, "unused")), "a refused start left a data folder"


def check_flags(folder):
    unused = os.path.join(folder, "unused")
    check("an unknown flag", start(unused, "--regon", "x"), USAGE, "--regon", "--region")
    check("a bad port", start(unused, "--advertised", "x", "--region-number", "0"), CONFIG, "--region-number", "1 to 255")
    check("open to all", start(unused, "--bind", "0.0.0.0"), CONFIG, "--bind", "0.0.0.0", "--insecure")
    check("no address", start(unused, "--bind", "example"), CONFIG, "--bind", "example")
    os.environ["MERIDIAN_SERVER__REGON"] = "x"
    check("the environment", start(unused), CONFIG, "MERIDIAN_SERVER__REGON", "did you mean")
    del os.environ["MERIDIAN_SERVER__REGON"]
    path = os.path.join(folder, "a file")
    with open(path, "w"):
        pass
    check("a file as the data folder", start(path), IO, path)
    check("a folder nobody can make", start("/proc/meridian"), IO, "/proc/meridian")


def check_emptied_folders(region):
    """A node that is alone and lost its log, or its metadata, says so instead of beginning anew beside the other."""
    for emptied, other in (("log", "metadata"), ("meta", "log")):
        folder = os.path.join(region.folder, emptied)
        os.rename(folder, folder + "-aside")
        words = (folder, "it is empty", f"the {other} beside it", "ledgers", "empty the whole data folder")
        # A supervisor starts it again: what the first start made must not stand for what was lost.
        for tries in ("at first", "again"):
            check(f"{emptied} emptied, {tries}", start(region.folder), CONFIG, *words)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(folder + "-aside", folder)
    region.start()
    reader = region.client().create_reader("persistent://public/default/after", pulsar.MessageId.earliest)
    assert reader.read_next(10000).data() == b"still here"
    region.stop()


def check_ignored(folder):
    """Keys of Pulsar's file that mean nothing here are named once, and the start goes on."""
    path = os.path.join(folder, "standalone.conf")
    with open(path, "w") as file:
        file.write("clusterName=standalone\nzookeeperServers=zk:2181\nloadBalancerEnabled=false\ntokenSecretKey=\n")
    region = Region(folder, "ignored", "--broker-conf", path)
    logged = [line for line in region.logged().splitlines() if "zookeeperServers" in line]
    assert len(logged) == 1 and re.search("ignored|no meaning|not used", logged[0]), region.logged()
    region.stop()


def main():
    folder = sys.argv[1]
    region = Region(folder)
    check_second_process(region, folder)
    check_files(folder)
    check_flags(folder)
    check_ignored(folder)
    region.stop()
    # The folder is free again, and the lock of a killed process holds nobody up.
    region.start()
    region.kill()
    region.start()
    region.stop()
    check_emptied_folders(region)


main()
os._exit(0)
