// Follows /events with the EventSource polyfill of npm, and prints each id: reader.mjs URL.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.resolve("target/peers/package.json"));
const { EventSource } = require("eventsource");
const source = new EventSource(process.argv[2]);
source.addEventListener("MessageNew", (event) => {
  const record = JSON.parse(event.data);
  console.log(String(record.seq) === event.lastEventId ? event.lastEventId : `id ${event.lastEventId} with seq ${record.seq}`);
});
source.addEventListener("lost", (event) => console.log("lost " + event.data));
