"""The Python client."""

import os
import sys
import threading

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify, Revenue

tracked = int(os.environ["TRACKED"])
user = {"user_id": "python-user", "device_id": "python-device"}
expected = tracked + 4
lock = threading.Condition()
told = []


def callback(event, code, message=None):
    with lock:
        told.append((code, message))
        lock.notify()


client = Amplitude(
    os.environ["KEY"],
    Config(server_url=os.environ["SERVER_URL"], flush_interval_millis=200, callback=callback),
)
client.identify(Identify().set("email", "Python@example.com"), EventOptions(**user))
client.set_group("org", "acme", EventOptions(**user))
client.group_identify("org", "acme", Identify().set("seats", 5), EventOptions(**user))
client.revenue(Revenue(price=2.5, quantity=3, product_id="sku-1"), EventOptions(**user))
for step in range(tracked):
    properties = {"step": step, "text": "x" * 100}
    client.track(BaseEvent(event_type="Step", event_properties=properties, **user))
client.flush()
with lock:
    lock.wait_for(lambda: len(told) >= expected)
refused = [answer for answer in told if answer[0] != 200]
client.shutdown()
if refused:
    print("the Python client gave up:", refused[0], file=sys.stderr)
    sys.exit(1)
