"""A token that expires leads to a challenge or a disconnect; a refreshed one goes on; the role never changes."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pulsar
from region import Region, until
from tokens import Keys
from wire import AUTHENTICATION_ERROR, payload

TOPIC = "persistent://public/default/expiry"
OFFICIAL = "persistent://public/default/official"


def challenged(region, keys, role="admin"):
    """A connection whose token of 2 s has run out, at the moment of the challenge."""
    connection = region.raw().log_in(keys.token(role, "--expiry", "2s"), refresh=True)
    challenge = connection.wait_for("auth_challenge")
    assert challenge["challenge"]["method"] == "token", challenge
    return connection


def check_closed(connection, why):
    got = connection.wait_closed()
    said = [(name, answer["error"]) for name, answer in got if name != "auth_challenge"]
    assert said == [("error", AUTHENTICATION_ERROR)], (why, got)


def check_refresh(region, keys):
    with challenged(region, keys) as connection:
        connection.send("auth_response", client_version="raw",
                        response={"method": "token", "data": keys.token("admin", "--expiry", "3s")})
        name, answer = connection.ask("producer", topic=TOPIC, producer_id=1)
        assert name == "producer_success", (name, answer)
        connection.send("send", payload=payload("x"), producer_id=1, sequence_id=0)
        connection.wait_for("send_receipt")
        # The new token runs out as well.
        connection.wait_for("auth_challenge")


def refusals(keys, other):
    """What is no answer to a challenge."""
    return {
        "no answer": None,
        "another role": keys.token("nobody"),
        "expired": keys.token("admin", "--expiry", "0s"),
        "garbage": "x.y.z",
        "wrong key": other.token("admin"),
        "empty": "",
    }


def check_refusal(region, keys, name, token):
    with challenged(region, keys) as connection:
        if token is not None:
            connection.send("auth_response", client_version="raw", response={"method": "token", "data": token})
        check_closed(connection, name)


def check_without_refresh(region, keys):
    with region.raw().log_in(keys.token("admin", "--expiry", "2s"), refresh=False) as connection:
        check_closed(connection, "a client that cannot refresh")


def check_official_client(region, keys):
    """The official client asks for a new token each time and publishes across several of them."""
    given = []

    def supply():
        given.append(keys.token("admin", "--expiry", "2s"))
        return given[-1]

    client = region.client(authentication=pulsar.AuthenticationToken(supply))
    consumer = client.subscribe(OFFICIAL, "s")
    producer = client.create_producer(OFFICIAL)
    before, sent = len(given), 0

    def went_on():
        nonlocal sent
        producer.send(str(sent).encode())
        sent += 1
        return len(given) >= before + 3

    until("three refreshed tokens", went_on)
    for i in range(sent):
        message = consumer.receive(10000)
        assert message.data() == str(i).encode(), (i, message.data())
    client.close()


def main():
    keys, other = Keys(sys.argv[1], "secret"), Keys(sys.argv[1], "secret", "other")
    config = keys.config(f"{sys.argv[1]}/auth.toml", authentication_refresh_check_seconds=1)
    region = Region(sys.argv[1], "standalone", "--config", config)
    with ThreadPoolExecutor() as side_by_side:
        checks = [side_by_side.submit(check_refresh, region, keys), side_by_side.submit(check_without_refresh, region, keys)]
        checks += [side_by_side.submit(check_refusal, region, keys, *row) for row in refusals(keys, other).items()]
        check_official_client(region, keys)
        for check in checks:
            check.result()
    region.stop()


main()
