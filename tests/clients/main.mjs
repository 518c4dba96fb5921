// Amplitude's own clients, unmodified, against a real daemon with the simulated Graph endpoint behind
// it: what each of them is told to track must reach the endpoint once, whatever the daemon answers
// in between.
//
// Run by .ci/clients, which installs the clients; PIXEL_RELAY names the program, PYTHON a Python
// that has the Python client, CHROMIUM a browser, SNIPPET the one for pages.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as call } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ADDRESS, KEY, bodyOf, report, serve, start, take, withStops } from './support.mjs';

const here = import.meta.dirname;
const { PYTHON, CHROMIUM, SNIPPET } = process.env;
const CLIENTS = ['node', 'python', 'browser'];
// Events that each client tracks besides its purchase.
const TRACKED = 40;
// Where the browser is, as the proxy in front of the daemon says it.
const BROWSER_ADDRESS = '198.51.100.9';

// A shop's page: the pixel is a stand-in that remembers what it was told.
const PAGE = `<!doctype html><title>shop</title>
<script>document.cookie = '_fbp=fb.1.1790000000000.1234567890'; window.told = []; window.fbq = (...call) => told.push(call);</script>
<script src="/amplitude.js"></script><script src="/snippet.js"></script>`;

// What an upstream answers to the first requests of each client.
const failures = (count, answer) => ({ count, answer });

const SCENARIOS = [
  { name: 'all is well' },
  { name: 'bodies are too large (413)', server: 'max_body = 6000', refusal: 'body_too_large' },
  // One request at once, and the next after ten seconds: a client rests for thirty.
  {
    name: 'the address calls too often (429)',
    ingest: 'address_requests_per_second = 0.1',
    refusal: 'throttled',
  },
  { name: 'it cannot be passed on (503)', upstream: failures(2, 500), refusal: 'not_passed_on' },
  { name: 'Amplitude itself does not answer', upstream: failures(1, 'hang up'), refusal: 'not_passed_on' },
];

const tests = SCENARIOS.map((scenario) => ({ name: scenario.name, run: () => withStops((stops) => run(stops, scenario)) }));
await report(tests, { atOnce: true });

async function run(stops, scenario) {
  const folder = mkdtempSync(join(tmpdir(), 'pixel-relay-clients-'));
  stops.push(() => rmSync(folder, { recursive: true }));
  const graph = await start(stops, ['sandbox', '--listen', `${ADDRESS}:0`], /http:\/\/[\d.]+:\d+/);
  const upstream = scenario.upstream && (await amplitude(stops, scenario.upstream));
  const config = join(folder, 'pixel-relay.toml');
  writeFileSync(config, configuration(folder, graph, upstream?.url, scenario));
  const log = await start(stops, ['run', '--config', config], /public=[\d.]+:\d+ admin=[\d.]+:\d+/);
  const [, daemon, admin] = /public=(\S+) admin=(\S+)/.exec(log);
  const page = await serveClient(stops);
  const proxy = await serveProxy(stops, daemon);
  const urlFor = (client) => (client === 'browser' ? proxy : `http://${daemon}`);
  const told = await Promise.all(CLIENTS.map((client) => track(client, urlFor(client), page)));
  // The browser client tells of the page view by itself.
  await delivered(`http://${admin}`, CLIENTS.length * (TRACKED + 1) + 1);
  await compare(graph, scenario, JSON.parse(told[CLIENTS.indexOf('browser')]));
  await refusals(`http://${admin}`, scenario.refusal);
  upstream?.compare();
}

function configuration(folder, graph, upstream, { server = '', ingest = '' }) {
  return `
    [server]
    listen = "${ADDRESS}:0"
    trusted_proxies = ["${ADDRESS}"]
    ${server}
    [admin]
    listen = "${ADDRESS}:0"
    [ingest]
    api_keys = ["${KEY}"]
    ${ingest}
    ${upstream ? `upstream = "${upstream}"` : ''}
    [queue]
    path = "${folder}/data"
    min_free_disk = "1MiB"
    [meta]
    url = "${graph}"
    [sync.web]
    pixel_id = "1001"
    access_token = "a-token"
    properties = ["step", "text"]
    [sync.web.user_data]
    external_id = ["user_id"]
    client_user_agent = ["user_agent", "event_properties.user_agent"]
    browser_id = "event_properties.fbp"
    email = "user_properties.email"
    click_id = "user_properties.fbclid"
    [sync.web.user_memory]
    [sync.web.events]
    "*" = {}
    "[Amplitude] Page Viewed" = "PageView"
    [sync.web.events.revenue_amount]
    send_as = "Purchase"
    [sync.web.events.revenue_amount.custom_data]
    content_ids = 'event_properties["$productId"]'
    currency = { from = 'event_properties["$currency"]', default = "USD" }
    [sync.web.delivery]
    max_batch_delay = "50ms"
    requests_per_second = "unlimited"
  `;
}

// Amplitude as an upstream: remembers insert ids, and fails the first requests of each client.
async function amplitude(stops, { count, answer }) {
  const failed = new Map();
  const seen = new Map();
  const url = await serve(stops, async (request, response) => {
    const { events } = JSON.parse(await bodyOf(request));
    const user = events[0].user_id;
    const failures = failed.get(user) ?? 0;
    if (failures < count) {
      failed.set(user, failures + 1);
      if (answer === 'hang up') return request.destroy();
      response.writeHead(answer).end('oops');
      return;
    }
    for (const event of events) seen.set(event.insert_id, event);
    take(response, events);
  });
  const compare = () => {
    const events = [...seen.values()];
    for (const client of CLIENTS) {
      const tracked = events.filter(({ user_id, event_type }) => user_id === `${client}-user` && event_type === 'Step');
      assert.equal(tracked.length, TRACKED, `what ${client} tracked and Amplitude took`);
      assert.equal(failed.get(`${client}-user`), count);
    }
    const addresses = new Set(events.map(({ ip }) => ip).filter(Boolean));
    assert.deepEqual([...addresses], [BROWSER_ADDRESS]);
  };
  return { url, compare };
}

// A page on an origin of its own, so that the browser asks before it sends.
async function serveClient(stops) {
  const scripts = {
    '/amplitude.js': readFileSync(
      join(here, 'node_modules/@amplitude/analytics-browser/lib/scripts/amplitude-min.js'),
    ),
    '/snippet.js': `${readFileSync(SNIPPET)}`.replace("'Sign Up': 'CompleteRegistration'", "Step: 'Step'"),
  };
  const origin = await serve(stops, (request, response) => {
    const script = scripts[request.url];
    response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html' });
    response.end(script ?? PAGE);
  });
  return `${origin}/thanks?fbclid=abc`;
}

// A proxy in front of the daemon, as there is in any deployment, that says where the browser is.
async function serveProxy(stops, daemon) {
  return serve(stops, (request, response) => {
    const headers = { ...request.headers, 'x-forwarded-for': BROWSER_ADDRESS };
    const onward = call(`http://${daemon}${request.url}`, { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
}

// Runs one client to the end of what it has to say, and gives what it prints.
async function track(client, daemon, page) {
  const [program, script] = client === 'python' ? [PYTHON, 'python_client.py'] : [process.execPath, `${client}.mjs`];
  const child = spawn(program, [join(here, script)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SERVER_URL: `${daemon}/2/httpapi`, KEY, PAGE: page, TRACKED: String(TRACKED), CHROMIUM },
  });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0, `the ${client} client failed`);
  return output;
}

// Waits until this many events were delivered; the clients have been told by then that they were taken.
async function delivered(admin, count) {
  for (;;) {
    const text = await (await fetch(`${admin}/metrics`)).text();
    const sample = /pixel_relay_outcomes_total\{[^}]*reason="accepted"[^}]*\} (\d+)/.exec(text);
    if (Number(sample?.[1] ?? 0) >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// Makes sure that the clients were refused as the scenario says, and in no other way.
async function refusals(admin, refusal) {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const errors = [...text.matchAll(/pixel_relay_requests_refused_total\{error="(\w+)"\} [1-9]/g)];
  assert.deepEqual(errors.map(([, error]) => error), refusal ? [refusal] : []);
}

async function compare(graph, scenario, pixel) {
  const { repeats } = await (await fetch(`${graph}/sandbox/stats`)).json();
  assert.equal(repeats, 0, 'events sent to Meta twice');
  const accepted = await (await fetch(`${graph}/sandbox/events?limit=10000`)).json();
  const all = accepted.map(({ event }) => event);
  for (const client of CLIENTS) {
    const user = createHash('sha256').update(`${client}-user`).digest('hex');
    const own = all.filter(({ user_data }) => [user_data.external_id].flat().includes(user));
    const steps = own.filter(({ event_name }) => event_name === 'Step');
    const numbers = steps.map(({ custom_data }) => custom_data.step).sort((a, b) => a - b);
    assert.deepEqual(numbers, Array.from({ length: TRACKED }, (_, index) => index), `${client}: ${scenario.name}`);
    const [purchase, ...others] = own.filter(({ event_name }) => event_name === 'Purchase');
    assert.equal(others.length, 0);
    const { value, currency, content_ids } = purchase.custom_data;
    assert.deepEqual({ value, currency, content_ids }, { value: 7.5, currency: 'USD', content_ids: ['sku-1'] });
    // Users' and groups' updates, sessions and the like do not reach Meta.
    const names = new Set(own.map(({ event_name }) => event_name));
    for (const name of ['$identify', '$groupidentify', 'session_start']) assert(!names.has(name), name);
    // The e-mail address was told once, in the identify call before these. A client that was refused may send
    // what it tells later first.
    if (!scenario.refusal) {
      const email = createHash('sha256').update(`${client}@example.com`).digest('hex');
      for (const { event_name, user_data } of [purchase, ...steps]) assert.equal(user_data.em, email, `${client}: ${event_name}`);
    }
    if (client === 'browser') {
      // The SDK tells of the click as a user property: it is one click, first seen at one time.
      const clicks = new Set(steps.map(({ user_data }) => user_data.fbc));
      if (!scenario.refusal) {
        assert.equal(clicks.size, 1);
        assert.match([...clicks][0], /^fb\.1\.\d{13}\.abc$/);
      }
      const [{ user_data, action_source, event_source_url }] = steps;
      assert.equal(user_data.fbp, 'fb.1.1790000000000.1234567890');
      // The pixel was told of the same events, under the same ids.
      const ids = pixel.map(([, name, , { eventID }]) => `${name} ${eventID}`).sort();
      const views = own.filter(({ event_name }) => event_name === 'PageView');
      assert.equal(views.length, 1);
      assert.deepEqual(ids, [...views, ...steps].map(({ event_name, event_id }) => `${event_name} ${event_id}`).sort());
      assert.equal(user_data.client_ip_address, BROWSER_ADDRESS);
      assert.match(user_data.client_user_agent, /Chrome/);
      assert.equal(action_source, 'website');
      assert.match(event_source_url, /\/thanks\?fbclid=abc$/);
    }
  }
}
