// Prints what is delivered again to this consumer: node replays.mjs NAME [DATA_DIR], beside `kling-relay dev`.
// Needs beside it: npm install @nats-io/transport-node@3 @nats-io/jetstream@3
import { readFileSync } from "node:fs";
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const [name, dataDir = "./data"] = process.argv.slice(2);
const server = JSON.parse(readFileSync(`${dataDir}/nats.json`, "utf8"));
const client = await connect({ servers: server.url, user: server.user, pass: server.password });
const prefix = `kling.replay.v1.${name}.`;
const durable = `${name}-replays`;
const manager = await jetstreamManager(client);
await manager.consumers.add("KLING_REPLAY", { durable_name: durable, ack_policy: "explicit", filter_subject: `${prefix}>` });
const consumer = await jetstream(client).consumers.get("KLING_REPLAY", durable);
for await (const message of await consumer.consume()) {
  // The event's own subject follows; its ce-id is the one it had: act on it once.
  console.log(message.subject.slice(prefix.length), message.headers.get("ce-id"), message.headers.get("kling-replay"));
  message.ack();
}
