"""Submits over request/reply: python3 submit.py [DATA_DIR [PROMPT [KEY]]], beside `kling-relay dev`."""
import asyncio, json, sys, uuid
import nats


async def main(data_dir="./data", prompt="A paper boat at dawn", key=""):
    server = json.load(open(f"{data_dir}/nats.json"))
    client = await nats.connect(server["url"], user=server["consumer_user"], password=server["consumer_password"])
    request = {"product": "text-to-video", "model": "kling-2.6", "prompt": prompt}
    # Repeated with the same key after a time-out, it is still one task and one payment.
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    reply = await client.request("kling.v1.dev.submit", json.dumps(request).encode(), timeout=10, headers=headers)
    answer = json.loads(reply.data)
    if (reply.headers or {}).get("Nats-Service-Error-Code"):
        sys.exit(f"refused: {answer['code']}: {answer['detail']}")
    print(answer["task_id"], answer["status"], answer["estimate"]["amount"], answer["estimate"]["unit"])
    await client.close()


asyncio.run(main(*sys.argv[1:]))
