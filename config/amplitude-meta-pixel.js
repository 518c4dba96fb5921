// Makes Meta's browser pixel and pixel-relay speak of the same event under the same id, so that Meta
// counts it once. Load it after Amplitude's browser SDK and Meta's pixel, before `amplitude.init`.

// Amplitude's event types, and Meta's names of them: as in the event table of your sync.
const META_EVENTS = {
  'Sign Up': 'CompleteRegistration',
  'Order Completed': 'Purchase',
};

// The parameters that the pixel is told, besides the id.
const metaParameters = ({ total, currency = 'USD' } = {}) => (total === undefined ? {} : { value: total, currency });

const cookie = (name) =>
  document.cookie
    .split('; ')
    .find((pair) => pair.startsWith(`${name}=`))
    ?.slice(name.length + 1);

amplitude.add({
  name: 'meta-pixel',
  type: 'enrichment',
  setup: async () => {},
  execute: async (event) => {
    const name = META_EVENTS[event.event_type];
    if (name !== undefined) {
      window.fbq?.('track', name, metaParameters(event.event_properties), { eventID: event.insert_id });
      // What only the browser knows; absent ones are left out of the event.
      event.event_properties = {
        ...event.event_properties,
        fbp: cookie('_fbp'),
        fbc: cookie('_fbc'),
        user_agent: navigator.userAgent,
      };
    }
    return event;
  },
});
