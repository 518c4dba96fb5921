// The browser client, in a real browser, on a page of another origin than the daemon's.

import { chromium } from 'playwright-core';

const { SERVER_URL, KEY, PAGE, TRACKED, CHROMIUM } = process.env;

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const page = await browser.newPage();
await page.goto(PAGE);
const { refused, told } = await page.evaluate(
  async ([serverUrl, key, tracked]) => {
    const { amplitude } = window;
    const settings = {
      serverUrl,
      userId: 'browser-user',
      flushIntervalMillis: 200,
      logLevel: 0,
      // Nothing but the daemon is asked for anything.
      fetchRemoteConfig: false,
      enableRequestBodyCompression: true,
    };
    await amplitude.init(key, settings).promise;
    const calls = [
      amplitude.identify(new amplitude.Identify().set('email', 'Browser@example.com')),
      amplitude.setGroup('org', 'acme'),
      amplitude.revenue(new amplitude.Revenue().setProductId('sku-1').setPrice(2.5).setQuantity(3)),
    ];
    for (let step = 0; step < tracked; step += 1) {
      calls.push(amplitude.track('Step', { step, text: 'x'.repeat(100) }));
    }
    const results = await Promise.all(calls.map(({ promise }) => promise));
    const refused = results.filter(({ code }) => code !== 200).map(({ code, message }) => `${code} ${message}`);
    return { refused, told: window.told };
  },
  [SERVER_URL, KEY, Number(TRACKED)],
);
await browser.close();
if (refused.length > 0) {
  console.error('the browser client gave up:', refused[0]);
  process.exit(1);
}
// What the page's pixel was told.
console.log(JSON.stringify(told));
