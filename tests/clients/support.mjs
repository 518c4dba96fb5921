// What the tests of this folder share: programs and servers that are ended again.

import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

export const ADDRESS = '127.0.0.1';
export const KEY = '0123456789abcdef0123456789abcdef';
export const { PIXEL_RELAY } = process.env;

// Runs what needs stops, and stops everything again, last things first.
export async function withStops(run) {
  const stops = [];
  try {
    return await run(stops);
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

// Ends the process with what became of the tests. `atOnce`: those that only wait for each other need not.
export async function report(tests, { atOnce }) {
  const judge = async ({ name, run }) => {
    try {
      await run();
      console.log(`ok  ${name}`);
      return true;
    } catch (error) {
      console.log(`FAILED  ${name}\n${error.stack}`);
      return false;
    }
  };
  const results = [];
  for (const test of tests) results.push(atOnce ? judge(test) : await judge(test));
  process.exit((await Promise.all(results)).every(Boolean) ? 0 : 1);
}

// Starts the program and waits until it says where it listens.
export async function start(stops, args, pattern) {
  const child = spawn(PIXEL_RELAY, args, { stdio: ['ignore', 'ignore', 'pipe'], env: {} });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  stops.push(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  const lines = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    const found = pattern.exec(line);
    if (found) {
      child.stderr.resume();
      return found[0];
    }
  }
  throw new Error(`it did not start:\n${lines.join('\n')}`);
}

// Serves until the test ends, and gives the address.
export async function serve(stops, handle) {
  const server = createServer(handle);
  await new Promise((resolve) => server.listen(0, ADDRESS, resolve));
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://${ADDRESS}:${server.address().port}`;
}

// The body of a request, whole.
export async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

// Answers as Amplitude does when it takes events.
export function take(response, events) {
  const body = { code: 200, events_ingested: events.length, payload_size_bytes: 1, server_upload_time: 1 };
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
