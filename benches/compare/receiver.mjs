// A minimal receiver around that mapping: takes one event per request, maps it, keeps it for a batch
// that nobody sends, and answers. It stores nothing: what it holds is lost with it.
import { createServer } from "node:http";
import { build } from "./mapping.mjs";

let batch = [];

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    batch.push(JSON.stringify(build(JSON.parse(Buffer.concat(chunks).toString()))));
    if (batch.length === 1000) batch = [];
    response.setHeader("content-type", "application/json");
    response.end('{"status":"ok"}');
  });
});
server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
