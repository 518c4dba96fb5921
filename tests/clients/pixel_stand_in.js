// Stands in for Meta's Pixel, as far as a recipe for one id can tell them apart. Nothing of the Pixel's own is in it;
// what it does was seen of the Pixel from outside:
//
// - what is called before its configuration has come waits for it; the cookies come with it, and with a click
//   id in the page's address a new `_fbc`;
// - PageView goes out once per page load; later ones are dropped without a word, unless allowDuplicatePageViews;
// - pushState makes a PageView of its own, under no id, unless disablePushState;
// - `eventID` or `event_id` in the fourth argument is the event's id.
(() => {
  const { fbq } = window;
  let configured = false;
  let pageViews = 0;
  let held = [];

  const cookie = (name) => new RegExp(`(?:^|; )${name}=([^;]*)`).exec(document.cookie)?.[1];
  const write = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=${90 * 24 * 60 * 60}; SameSite=Lax`;
  };

  const send = (name, options) => {
    if (name === 'PageView') {
      pageViews += 1;
      if (pageViews > 1 && fbq.allowDuplicatePageViews !== true) return;
    }
    const id = options?.eventID ?? options?.event_id;
    const body = JSON.stringify({ name, id, fbp: cookie('_fbp'), fbc: cookie('_fbc') });
    fetch('/tr', { method: 'POST', body, keepalive: true });
  };
  const call = (method, name, _parameters, options) => {
    if (method !== 'track' && method !== 'trackCustom') return;
    if (configured) send(name, options);
    else held.push([name, options]);
  };

  const { pushState } = history;
  history.pushState = function (...state) {
    pushState.apply(this, state);
    if (fbq.disablePushState !== true) call('track', 'PageView');
  };

  for (const queued of fbq.queue) call(...queued);
  fbq.callMethod = call;

  setTimeout(() => {
    const click = new URLSearchParams(location.search).get('fbclid')?.replaceAll('.', '__DOT__');
    const now = Date.now();
    if (!cookie('_fbp')) write('_fbp', `fb.0.${now}.${Math.floor(Math.random() * 1e17)}`);
    if (click && cookie('_fbc')?.split('.').slice(3).join('.') !== click) write('_fbc', `fb.0.${now}.${click}`);
    configured = true;
    for (const one of held) send(...one);
    held = [];
  }, fbq.configurationAfterMillis);
})();
