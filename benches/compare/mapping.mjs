// The mapping of ../sample.toml, written with Meta's own SDK for Node: one Amplitude event becomes one
// server event, as JSON. Run by itself it reads events from standard input, one per line, maps them
// three times over, and says what an event cost in the last round.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import bizSdk from "facebook-nodejs-business-sdk";

const { Content, CustomData, ServerEvent, UserData } = bizSdk;

export function build(event) {
  const user = event.user_properties;
  const properties = event.event_properties;
  const userData = new UserData()
    .setExternalId(event.user_id)
    .setEmail(user.email)
    .setPhone(user.phone)
    .setFirstName(user.first_name)
    .setLastName(user.last_name)
    .setDateOfBirth(user.birthday.replaceAll("-", ""))
    .setGender(user.gender[0])
    .setCity(event.city)
    .setState(event.region)
    .setZip(user.zip)
    .setCountry("us")
    .setClientIpAddress(event.ip_address)
    .setClientUserAgent(user.user_agent)
    .setFbp(user.fbp);
  const contents = properties.products.map((product) =>
    new Content().setId(product.sku).setQuantity(product.qty).setItemPrice(product.price),
  );
  const customData = new CustomData()
    .setCurrency(properties.currency)
    .setValue(properties.value)
    .setOrderId(properties.order_id)
    .setContents(contents);
  return new ServerEvent()
    .setEventName("Purchase")
    .setEventTime(Math.floor(event.event_time / 1000))
    .setEventId(event.$insert_id)
    .setActionSource("website")
    .setEventSourceUrl(properties["[Amplitude] Page Location"])
    .setUserData(userData)
    .setCustomData(customData)
    .normalize();
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const lines = readFileSync(0, "utf8").trim().split("\n");
  let micros = 0;
  for (let round = 0; round < 3; round++) {
    const before = process.cpuUsage();
    for (const line of lines) JSON.stringify(build(JSON.parse(line)));
    const { user, system } = process.cpuUsage(before);
    micros = (user + system) / lines.length;
  }
  console.log(micros.toFixed(2));
}
