// The Node client.

import { groupIdentify, identify, init, Identify, Revenue, revenue, setGroup, track } from '@amplitude/analytics-node';

const { SERVER_URL, KEY, TRACKED } = process.env;
const user = { user_id: 'node-user', device_id: 'node-device' };

await init(KEY, { serverUrl: SERVER_URL, flushIntervalMillis: 200, logLevel: 0 }).promise;
const told = [
  identify(new Identify().set('email', 'Node@example.com').add('visits', 1), user),
  setGroup('org', 'acme', user),
  groupIdentify('org', 'acme', new Identify().set('seats', 5), user),
  revenue(new Revenue().setProductId('sku-1').setPrice(2.5).setQuantity(3), user),
];
for (let step = 0; step < Number(TRACKED); step += 1) {
  told.push(track('Step', { step, text: 'x'.repeat(100) }, user));
}
const results = await Promise.all(told.map(({ promise }) => promise));
const refused = results.filter(({ code }) => code !== 200);
if (refused.length > 0) {
  console.error('the Node client gave up:', refused[0].code, refused[0].message);
  process.exit(1);
}
