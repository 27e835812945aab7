"""Prints what is delivered again to this consumer: python3 replays.py NAME [DATA_DIR], beside `kling-relay dev`.

In another terminal: kling-relay replay --consumer NAME --from 2026-11-21T00:00:00Z --reason "..."
"""
import asyncio, json, sys
import nats


async def main(name, data_dir="./data"):
    server = json.load(open(f"{data_dir}/nats.json"))
    client = await nats.connect(server["url"], user=server["user"], password=server["password"])
    subject = f"kling.replay.v1.{name}.>"
    events = await client.jetstream().pull_subscribe(subject, durable=f"{name}-replays", stream="KLING_REPLAY")
    while True:
        try:
            for message in await events.fetch(10, timeout=30):
                # The event's own subject follows; its ce-id is the one it had: act on it once.
                event = message.subject.removeprefix(f"kling.replay.v1.{name}.")
                print(event, message.headers["ce-id"], message.headers["kling-replay"])
                await message.ack()
        except nats.errors.TimeoutError:
            pass


asyncio.run(main(*sys.argv[1:]))
