// config/amplitude-meta-pixel.js in a real browser, between Amplitude's own client and a stand-in for Meta's Pixel:
// what the Pixel sends and what the daemon delivers are the same events under the same ids, and what the page
// told of the browser reaches Meta with every event, those that a server reports too, by the mapping of each example.
//
// Run by .ci/clients; PIXEL_RELAY names the program, CHROMIUM a browser, SNIPPET the script, EXAMPLES the folder of
// the examples.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as call } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { ADDRESS, KEY, PIXEL_RELAY, bodyOf, report, serve, start, take, withStops } from './support.mjs';

const here = import.meta.dirname;
const { CHROMIUM, SNIPPET, EXAMPLES } = process.env;
const CLICK = 'IwAR2-abc_DEF';
// How long an event may take; one that is lost never comes.
const PATIENCE_MILLIS = 20_000;
const snippet = `${readFileSync(SNIPPET)}`;
const example = (name) => join(EXAMPLES, `${name}.toml`);
const hash = (text) => createHash('sha256').update(text).digest('hex');
const byId = (left, right) => left.id.localeCompare(right.id);

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});

const TESTS = [
  { name: 'the first page of a first visit knows browser and click', run: firstVisit },
  { name: 'each view of a single-page app is one event', run: singlePageApp },
  { name: 'a visitor who has not agreed is left alone', run: consent },
  { name: 'the script puts nothing into the page', run: noGlobals },
  { name: 'who leaves the page at once loses no event', run: leaving },
  { name: 'a slow Pixel holds nothing up for long', run: slowPixel },
  { name: 'cookies come along on the own origin and with beacons', run: cookiesOfRequest },
  { name: 'every example maps what the script tells, also of a purchase that a server reports', run: examples },
];
// One by one, since time counts in some of them.
const tests = TESTS.map(({ name, run }) => ({ name, run: () => withStops((stops) => within(stops, run)) }));
await report(tests, { atOnce: false });

// A shop behind which everything stands: the daemon, the simulated endpoint, and what Amplitude and Meta's Pixel would get.
async function within(stops, run) {
  const folder = mkdtempSync(join(tmpdir(), 'pixel-relay-recipe-'));
  stops.push(() => rmSync(folder, { recursive: true }));
  const graph = await start(stops, ['sandbox', '--listen', `${ADDRESS}:0`], /http:\/\/[\d.]+:\d+/);
  const atAmplitude = [];
  const upstream = await serve(stops, async (request, response) => {
    const { events } = JSON.parse(await bodyOf(request));
    // The client repeats on the next page what it was not answered; Amplitude knows it by its id.
    const isNew = ({ insert_id }) => atAmplitude.every((known) => known.insert_id !== insert_id);
    atAmplitude.push(...events.filter(isNew));
    take(response, events);
  });
  const config = join(folder, 'pixel-relay.toml');
  writeFileSync(config, configuration(folder, graph, upstream));
  const log = await start(stops, ['run', '--config', config], /public=[\d.]+:\d+/);
  const [, daemon] = /public=(\S+)/.exec(log);
  const atPixel = [];
  const shop = await serve(stops, async (request, response) => {
    if (request.url === '/tr') {
      atPixel.push(JSON.parse(await bodyOf(request)));
      response.writeHead(204).end();
      return;
    }
    if (request.url.startsWith('/collect/')) {
      // As a proxy on the page's own origin.
      const path = request.url.slice('/collect'.length);
      const onward = call(`http://${daemon}${path}`, { method: request.method, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      request.pipe(onward);
      return;
    }
    const [path, query] = request.url.split('?');
    const script = scripts(new URLSearchParams(query))[path];
    response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html' });
    response.end(script ?? pageOf(daemon, new URLSearchParams(query)));
  });
  const context = await browser.newContext();
  stops.push(() => context.close());
  const page = await context.newPage();
  // The browser asks the shop for nothing else, and the daemon nobody.
  const delivered = async (count) => {
    const until = performance.now() + PATIENCE_MILLIS;
    for (;;) {
      const events = (await (await fetch(`${graph}/sandbox/events?limit=1000`)).json()).map(({ event }) => event);
      if (events.length >= count) return events;
      const names = () => events.map(({ event_name, event_source_url }) => `${event_name} ${event_source_url}`).join(', ');
      assert(performance.now() < until, `${count} events are awaited, delivered are ${names()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const pixelSent = async (count) => {
    while (atPixel.length < count) await new Promise((resolve) => setTimeout(resolve, 50));
    return atPixel;
  };
  await run({ shop, page, context, folder, delivered, pixelSent, atAmplitude });
}

// The mapping is the web shop's.
function configuration(folder, graph, upstream) {
  const head = '\n[sync.web.user_data]\n';
  const [userData] = `${readFileSync(example('ecommerce'))}`.split(head)[1].split('\n[');
  return `
    [server]
    listen = "${ADDRESS}:0"
    [admin]
    listen = "${ADDRESS}:0"
    [ingest]
    api_keys = ["${KEY}"]
    upstream = "${upstream}"
    [queue]
    path = "${folder}/data"
    min_free_disk = "1MiB"
    [meta]
    url = "${graph}"
    [sync.web]
    pixel_id = "1001"
    access_token = "a-token"
    ${head}${userData}
    [sync.web.events]
    "[Amplitude] Page Viewed" = "PageView"
    "Sign Up" = "CompleteRegistration"
    [sync.web.events."Order Completed"]
    send_as = "Purchase"
    [sync.web.events."Order Completed".custom_data]
    value = "event_properties.total"
    currency = { constant = "USD" }
    [sync.web.delivery]
    max_batch_delay = "50ms"
    requests_per_second = "unlimited"
  `;
}

function scripts(query) {
  const consent = 'const hasConsent = () => true;';
  assert(snippet.includes(consent));
  const asks = query.has('asks') ? snippet.replace(consent, 'const hasConsent = () => window.agreed === true;') : snippet;
  return {
    '/amplitude.js': readFileSync(join(here, 'node_modules/@amplitude/analytics-browser/lib/scripts/amplitude-min.js')),
    '/pixel.js': readFileSync(join(here, 'pixel_stand_in.js')),
    '/snippet.js': asks,
  };
}

// A page as docs/AMPLITUDE.md has it: Meta's snippet, Amplitude's, the script, and then the start.
function pageOf(daemon, query) {
  const after = query.get('configurationAfterMillis') ?? 0;
  const asks = query.has('asks') ? '?asks' : '';
  const scriptTag = query.has('bare') ? '' : `<script src="/snippet.js${asks}"></script>`;
  return `<!doctype html><title>shop</title>
    <script>
      const fbq = function (...call) { fbq.callMethod ? fbq.callMethod(...call) : fbq.queue.push(call); };
      fbq.queue = []; fbq.configurationAfterMillis = ${after}; window.fbq = fbq;
    </script>
    <script async src="/pixel.js"></script>
    <script>fbq('init', '1001');</script>
    <script src="/amplitude.js"></script>${scriptTag}
    <script>
      window.ready = amplitude.init('${KEY}', {
        serverUrl: '${query.get('serverUrl') ?? `http://${daemon}/2/httpapi`}', transport: '${query.get('transport') ?? 'fetch'}', flushIntervalMillis: 100, logLevel: 0, fetchRemoteConfig: false,
        autocapture: { attribution: true, pageViews: true, sessions: true, formInteractions: false, fileDownloads: false },
      }).promise;
    </script>`;
}

// An event that is tracked while the client is half ready would go without all that it adds by itself, ids included.
async function open(page, url) {
  await page.goto(url);
  await page.evaluate(() => window.ready);
}

// What identify calls tell of the browser.
function identified(events) {
  const calls = events.filter(({ event_type }) => event_type === '$identify');
  return calls.map(({ user_properties: { $set = {} } }) => $set).filter(({ user_agent }) => user_agent !== undefined);
}

// The ids, names and cookies of both sides are the same.
function assertPaired(sent, events) {
  const ofMeta = events.map(({ event_id, event_name, user_data: { fbp, fbc } }) => ({ id: event_id, name: event_name, fbp, fbc }));
  const ofPixel = sent.map(({ id = 'none', name, fbp, fbc }) => ({ id, name, fbp, fbc }));
  assert.deepEqual(ofMeta.sort(byId), ofPixel.sort(byId));
}

async function firstVisit({ shop, page, context, delivered, pixelSent, atAmplitude }) {
  await open(page, `${shop}/?fbclid=${CLICK}&configurationAfterMillis=400`);
  await page.evaluate(() => amplitude.track('Sign Up').promise);
  const events = await delivered(2);
  const sent = await pixelSent(2);
  assert.deepEqual(sent.map(({ name }) => name).sort(), ['CompleteRegistration', 'PageView']);
  assertPaired(sent, events);
  for (const { user_data, action_source } of events) {
    assert.match(user_data.fbp, /^fb\.0\.\d{13}\.\d+$/);
    assert.match(user_data.fbc, new RegExp(`^fb\\.0\\.\\d{13}\\.${CLICK}$`));
    assert.match(user_data.client_user_agent, /Chrome/);
    assert.equal(action_source, 'website');
  }
  // The user knows them too, told once; the next page, where the cookies are, tells them to nobody again.
  const { fbp, fbc, client_user_agent } = events[0].user_data;
  await open(page, `${shop}/second?configurationAfterMillis=60000`);
  await page.evaluate(() => amplitude.track('Order Completed', { total: 59.9 }).promise);
  const purchase = (await delivered(4)).find(({ event_name }) => event_name === 'Purchase');
  assert.deepEqual(
    { fbp: purchase.user_data.fbp, fbc: purchase.user_data.fbc, value: purchase.custom_data.value },
    { fbp, fbc, value: 59.9 },
  );
  assert.deepEqual(identified(atAmplitude), [{ fbp, fbc, user_agent: client_user_agent }]);
  // Another user is told of, and so is another click on an ad, once the Pixel has seen it.
  await open(page, `${shop}/third?fbclid=another&configurationAfterMillis=400`);
  await page.evaluate(() => amplitude.track('Sign Up').promise);
  await page.evaluate(() => amplitude.setUserId('customer-17'));
  await page.evaluate(() => amplitude.track('Sign Up').promise);
  const clicks = (await delivered(7)).filter(({ user_data }) => user_data.fbc.endsWith('.another'));
  assert.equal(clicks.length, 3);
  await page.evaluate(() => amplitude.flush().promise);
  const after = clicks[0].user_data.fbc;
  assert.deepEqual(identified(atAmplitude).map((told) => told.fbc), [fbc, after, after]);
  const told = atAmplitude.filter(({ event_type, user_properties }) => event_type === '$identify' && user_properties.$set?.fbp);
  assert.deepEqual(told.map(({ user_id }) => user_id), [undefined, undefined, 'customer-17']);
  assert.equal((await context.cookies()).filter(({ name }) => name === '_fbp').length, 1);
}

async function singlePageApp({ shop, page, delivered, pixelSent }) {
  await open(page, `${shop}/`);
  await delivered(1);
  for (const [count, path] of [[2, '/products'], [3, '/products/1']]) {
    await page.evaluate((to) => history.pushState({}, '', to), path);
    await delivered(count);
  }
  const sent = await pixelSent(3);
  assert.deepEqual(sent.map(({ name }) => name), ['PageView', 'PageView', 'PageView']);
  const events = await delivered(3);
  assertPaired(sent, events);
  const pages = events.map(({ event_source_url }) => new URL(event_source_url).pathname);
  assert.deepEqual(pages.sort(), ['/', '/products', '/products/1']);
}

async function consent({ shop, page, delivered, pixelSent, atAmplitude }) {
  // Whoever reads or writes cookies or the storage of the page is noted.
  await page.addInitScript(() => {
    window.readers = [];
    const note = () => window.readers.push(new Error().stack);
    const { get, set } = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
    Object.defineProperty(Document.prototype, 'cookie', {
      get() { note(); return get.call(this); },
      set(value) { note(); return set.call(this, value); },
    });
    for (const method of ['getItem', 'setItem']) {
      const original = Storage.prototype[method];
      Storage.prototype[method] = function (...values) { note(); return original.apply(this, values); };
    }
  });
  const ofScript = () => page.evaluate(() => window.readers.filter((stack) => stack.includes('/snippet.js')).length);
  await open(page, `${shop}/?asks`);
  await page.evaluate(() => amplitude.track('Sign Up').promise);
  for (const { user_data } of await delivered(2)) {
    assert.equal(user_data.fbp, undefined);
  }
  assert.equal(await ofScript(), 0);
  assert.deepEqual(identified(atAmplitude), []);
  await page.evaluate(() => {
    window.agreed = true;
    return amplitude.track('Order Completed', { total: 1 }).promise;
  });
  const purchase = (await delivered(3)).find(({ event_name }) => event_name === 'Purchase');
  assert.notEqual(purchase.user_data.fbp, undefined);
  assert.notEqual(await ofScript(), 0);
  const sent = await pixelSent(1);
  assertPaired(sent, [purchase]);
  await page.evaluate(() => amplitude.flush().promise);
  assert.equal(identified(atAmplitude).length, 1);
}

async function noGlobals({ shop, page, context }) {
  await open(page, `${shop}/?bare`);
  await page.evaluate(() => amplitude.track('Step').promise);
  const session = await context.newCDPSession(page);
  const globals = async () => {
    const { names } = await session.send('Runtime.globalLexicalScopeNames');
    return [...names, ...(await page.evaluate(() => Object.getOwnPropertyNames(window)))].sort();
  };
  const before = await globals();
  await page.addScriptTag({ url: `${shop}/snippet.js` });
  assert.deepEqual(await globals(), before);
}

async function leaving({ shop, page, delivered, pixelSent }) {
  await open(page, `${shop}/?configurationAfterMillis=60000`);
  await page.evaluate(() => {
    amplitude.track('Sign Up');
    return new Promise((resolve) => setTimeout(resolve, 100));
  });
  await open(page, `${shop}/welcome`);
  const events = await delivered(3);
  const names = events.map(({ event_name }) => event_name).sort();
  assert.deepEqual(names, ['CompleteRegistration', 'PageView', 'PageView']);
  await pixelSent(1);
}

async function slowPixel({ shop, page, delivered, pixelSent }) {
  await open(page, `${shop}/?configurationAfterMillis=3000`);
  const [{ user_data, event_id }] = await delivered(1);
  assert.equal(user_data.fbp, undefined);
  const [{ id, fbp }] = await pixelSent(1);
  assert.equal(id, event_id);
  await page.evaluate(() => amplitude.track('Sign Up').promise);
  const signUp = (await delivered(2)).find(({ event_name }) => event_name === 'CompleteRegistration');
  assert.equal(signUp.user_data.fbp, fbp);
}

async function examples({ shop, page, folder, delivered, atAmplitude }) {
  await open(page, `${shop}/?fbclid=${CLICK}`);
  await page.evaluate(() => {
    amplitude.setUserId('customer-17');
    return amplitude.track('Sign Up').promise;
  });
  await delivered(2);
  await page.evaluate(() => amplitude.flush().promise);
  const [ofBrowser] = identified(atAmplitude).slice(-1);
  const signUp = atAmplitude.find(({ event_type }) => event_type === 'Sign Up');
  // Each event as Amplitude's webhook gives it: with what the user is known by, from the page and from identify calls.
  const known = { ...ofBrowser, marketing_consent: 'true', ads_consent: 'granted', email: 'pat@example.com' };
  const when = new Date().toISOString();
  const webhook = (event) => ({ event_time: when, $insert_id: event.event_type, ...event, user_properties: known });
  const places = [{ country: 'Germany' }, { country: 'United States' }];
  const { user_id, device_id, event_type, event_properties } = signUp;
  const browsers = places.map((place) => webhook({ user_id, device_id, event_type, event_properties, platform: 'Web', ...place }));
  const order = { user_id, event_properties: { total: 59.9, currency: 'EUR', order_id: 'A-1', products: [{ sku: 'S', quantity: 1, price: 59.9 }] } };
  const servers = ['Order Completed', 'Order Paid'].flatMap((event_type) => places.map((place) => webhook({ ...order, ...place, event_type })));
  for (const name of ['ecommerce', 'sdk', 'two_pixels']) {
    const mapped = await map(folder, name, [...browsers, ...servers]);
    for (const [of, identities, events] of [['CompleteRegistration', [user_id, device_id], browsers], ['Purchase', [user_id], servers]]) {
      const found = mapped.filter(({ event_name }) => event_name === of);
      assert(found.length >= 1 && found.length <= events.length, `${name}: ${of}`);
      for (const { user_data, action_source, event_source_url } of found) {
        const { fbp, fbc, client_user_agent, external_id } = user_data;
        const label = `${name}: ${of}`;
        assert.deepEqual({ fbp, fbc, user_agent: client_user_agent }, ofBrowser, label);
        assert.deepEqual([external_id].flat(), identities.map(hash), label);
        assert.equal(action_source, 'website', label);
        assert.match(event_source_url, /^https?:/, label);
      }
    }
  }
}

// Without the script: what the daemon reads in the browser's own request.
async function cookiesOfRequest({ shop, page, delivered, pixelSent }) {
  await open(page, `${shop}/?bare&fbclid=${CLICK}`);
  await page.evaluate(() => fbq('track', 'PageView'));
  const [{ fbp, fbc }] = await pixelSent(1);
  await delivered(1);
  await open(page, `${shop}/own?bare&serverUrl=/collect/2/httpapi`);
  await delivered(2);
  await open(page, `${shop}/beacon?bare&transport=beacon`);
  const events = await delivered(3);
  const of = (path) => events.find(({ event_source_url }) => new URL(event_source_url).pathname === path).user_data;
  for (const path of ['/own', '/beacon']) assert.deepEqual([of(path).fbp, of(path).fbc], [fbp, fbc], path);
  // A request to another origin carries no cookies by itself, and the user agent all the same.
  assert.equal(of('/').fbp, undefined);
  assert.match(of('/').client_user_agent, /Chrome/);
}

// What a configuration makes of events, as `map` says it.
async function map(folder, name, events) {
  const child = spawn(PIXEL_RELAY, ['map', '--config', example(name)], { stdio: ['pipe', 'pipe', 'inherit'], cwd: folder });
  child.stdin.end(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  const lines = (await bodyOf(child.stdout)).trim().split('\n');
  return lines.map((line) => JSON.parse(line)).filter(({ outcome }) => outcome === 'mapped').map(({ event }) => event);
}
