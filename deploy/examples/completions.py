"""Prints each completion, once: python3 completions.py [DATA_DIR], beside `kling-relay dev`."""
import asyncio, json, sys
import nats


async def main(data_dir="./data"):
    server = json.load(open(f"{data_dir}/nats.json"))
    client = await nats.connect(server["url"], user=server["consumer_user"], password=server["consumer_password"])
    events = await client.jetstream().pull_subscribe("kling.v1.*.task.*.*", durable="completions", stream="KLING")
    while True:
        try:
            for message in await events.fetch(10, timeout=30):
                task = json.loads(message.data)
                if message.subject.endswith((".succeeded", ".failed")):
                    print(task["task_id"], task["status"], message.headers["ce-id"])
                await message.ack()  # Whoever acts on it: act first, and use ce-id to do it once.
        except nats.errors.TimeoutError:
            pass


asyncio.run(main(*sys.argv[1:]))
