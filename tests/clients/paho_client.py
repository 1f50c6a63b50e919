"""One run of paho-mqtt: subscribes, publishes a list of cases, and tells what it got.

Arguments: port, protocol level (4 or 5), client ID, topic prefix, lengths of payloads.
"""
import hashlib
import sys
import threading

import paho.mqtt.client as mqtt

DEADLINE = 60


def payload(length):
    period = bytes((at * 31 + length) % 256 for at in range(256))
    return (period * (length // 256 + 1))[:length]


def say(*words):
    print(*words, flush=True)


def main():
    port, level, client_id, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    cases = [(qos, int(length)) for qos in range(3) for length in sys.argv[5].split(",")]
    subscribed, done = threading.Event(), threading.Event()
    left = [len(cases)]

    def on_connect(client, userdata, flags, reason, properties):
        if reason.is_failure:
            sys.exit(f"refused: {reason}")
        client.subscribe(f"{prefix}/down/#", qos=2)

    def on_subscribe(client, userdata, mid, reasons, properties):
        subscribed.set()

    def on_message(client, userdata, message):
        digest = hashlib.sha256(message.payload).hexdigest()
        say("got", message.topic, message.qos, len(message.payload), digest)
        left[0] -= 1
        if left[0] == 0:
            done.set()

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=mqtt.MQTTv5 if level == 5 else mqtt.MQTTv311,
    )
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    if not subscribed.wait(DEADLINE):
        sys.exit("no SUBACK")
    say("ready")
    sent = [client.publish(f"{prefix}/up/{qos}/{n}", payload(n), qos=qos) for qos, n in cases]
    for message in sent:
        message.wait_for_publish(DEADLINE)
        if not message.is_published():
            sys.exit("a message is not acknowledged")
    if not done.wait(DEADLINE):
        sys.exit(f"{left[0]} messages did not come")
    client.disconnect()
    client.loop_stop()


main()
