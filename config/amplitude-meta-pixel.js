// Reports the same event to Meta's Pixel and, through Amplitude, to pixel-relay, under one id, so that
// Meta counts it once; and tells Amplitude what only the browser knows, so that Meta can match it.
//
// Load it after Meta's snippet and Amplitude's browser SDK, before `amplitude.init`. It needs nothing else
// of the page, and puts nothing into it. docs/AMPLITUDE.md says what belongs in the other places.

(() => {
  // Yours: Amplitude's event types, and the names that they have at Meta. As in the event table of your sync.
  const META_EVENTS = {
    '[Amplitude] Page Viewed': 'PageView',
    'Sign Up': 'CompleteRegistration',
    'Order Completed': 'Purchase',
  };

  // Yours: what the Pixel is told of an event, besides its id.
  const metaParameters = ({ total, currency = 'USD' } = {}) => (total === undefined ? {} : { value: total, currency });

  // Yours: whether the visitor agreed; asked at every event. Until then this reads, stores and tells nothing.
  // For example: () => window.Cookiebot?.consent?.marketing === true
  const hasConsent = () => true;

  const COOKIE_WAIT_MILLIS = 1000;
  const TOLD = 'amplitude-meta-pixel';

  const { fbq } = window;
  if (fbq && Object.values(META_EVENTS).includes('PageView')) {
    // Otherwise the Pixel sends a PageView of its own, without our id, when a single-page app changes its
    // address, and drops every PageView of ours but the first.
    fbq.disablePushState = true;
    fbq.allowDuplicatePageViews = true;
  }

  const cookie = (name) =>
    document.cookie
      .split('; ')
      .find((pair) => pair.startsWith(`${name}=`))
      ?.slice(name.length + 1);

  const browserKnows = () => {
    const all = { fbp: cookie('_fbp'), fbc: cookie('_fbc'), user_agent: navigator.userAgent };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
  };

  // Whether the Pixel has written its cookies: that of the browser, and that of the click on an ad that led here.
  const click = new URLSearchParams(location.search).get('fbclid')?.replaceAll('.', '__DOT__');
  const hasCookies = () =>
    cookie('_fbp') !== undefined && (!click || (cookie('_fbc') ?? '').split('.').slice(3).join('.').startsWith(click));

  // The Pixel writes them when its configuration has come, which on a first visit is later than the first
  // event. Once per page that is waited for, a second at most; who leaves the page ends the wait, and what is
  // behind it goes out.
  let waiting;
  const cookies = (client) => {
    waiting ??= new Promise((resolve) => {
      const until = performance.now() + COOKIE_WAIT_MILLIS;
      const end = () => {
        removeEventListener('pagehide', leave);
        resolve();
      };
      const leave = () => {
        end();
        client.flush();
      };
      const look = () => {
        if (!window.fbq || hasCookies() || performance.now() >= until) end();
        else setTimeout(look, 50);
      };
      addEventListener('pagehide', leave);
      look();
    });
    return waiting;
  };

  const stored = {
    read: () => {
      try {
        return localStorage.getItem(TOLD);
      } catch {
        return null; // The browser keeps nothing for this page: it is told again on the next.
      }
    },
    write: (text) => {
      try {
        localStorage.setItem(TOLD, text);
      } catch {
        // As above.
      }
    },
  };

  // Sets what the browser knows as user properties, once and when it changes: for events that a server reports.
  let told;
  const tellOfUser = (client, { user_id, device_id }) => {
    if (!hasConsent()) return;
    const properties = browserKnows();
    const telling = JSON.stringify([user_id, device_id, properties]);
    told ??= stored.read();
    if (telling === told) return;
    told = telling;
    const identify = new amplitude.Identify();
    for (const [name, value] of Object.entries(properties)) identify.set(name, value);
    // The client does not send what is `extra`.
    client.identify(identify, { extra: { [TOLD]: telling } }).promise.then(({ code }) => {
      if (code !== 200) stored.write('');
    });
  };

  let client;
  amplitude.add({
    name: 'meta-pixel',
    type: 'enrichment',
    setup: async (_config, owner) => {
      client = owner;
    },
    execute: async (event) => {
      if (!hasConsent()) return event;
      const telling = event.extra?.[TOLD];
      if (telling !== undefined) {
        // From here on the client keeps it until it is sent, on the next page too.
        stored.write(telling);
        return event;
      }
      const name = META_EVENTS[event.event_type];
      if (name === undefined) {
        cookies(client).then(() => tellOfUser(client, event));
        return event;
      }
      window.fbq?.('track', name, metaParameters(event.event_properties), { eventID: event.insert_id });
      await cookies(client);
      tellOfUser(client, event);
      return { ...event, event_properties: { ...event.event_properties, ...browserKnows() } };
    },
  });
})();
