// Drives two browsers through a call and prints what they saw as one JSON document.
//
//   node drive.js '{"domain": …, "room": …, "ports": {"443": …, "4443": …}, "home": …, "producer": "chromium",
//                   "consumer": "firefox", "policy": "relay" | "all", "until": "heard" | "refused", "limitSeconds": …}'
//
// With "then", the call goes on after sound was heard: "heard" is printed to standard error, both browsers do what it says
// ("restartIce", or "nothing" for what happens around them), and after `seconds` the longest time without a packet is told
// as `gapMs`, and how many packets came in the last second as `lastSecond`.
//
// `home` is a folder whose certificate stores already trust what the browsers should. Without a consumer only one
// browser runs. `until` says what ends the wait: sound that was decoded, or every TURN server given up on.
import fs from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import puppeteer from "puppeteer-core";

const call = JSON.parse(process.argv[2]);
const names = ["", "assets.", "stream.", "cors."].map((prefix) => prefix + call.domain);

const launch = {
  // Host rules take a port along, so that the page can keep to the addresses that Hubs uses.
  chromium: () =>
    puppeteer.launch({
      browser: "chrome",
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      env: { ...process.env, HOME: call.home },
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--allow-loopback-in-peer-connection",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--host-resolver-rules=" +
          names
            .flatMap((name) => [
              ...Object.entries(call.ports).map(([from, to]) => `MAP ${name}:${from} 127.0.0.1:${to}`),
              `MAP ${name} 127.0.0.1`,
            ])
            .join(", "),
      ],
    }),
  firefox: () =>
    puppeteer.launch({
      browser: "firefox",
      executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
      env: { ...process.env, HOME: call.home },
      userDataDir: freshProfile(),
      extraPrefsFirefox: {
        "network.dns.localDomains": names.join(","),
        "network.socket.forcePort": Object.entries(call.ports)
          .map(([from, to]) => `${from}=${to}`)
          .join(";"),
        "media.navigator.streams.fake": true,
        "media.navigator.permission.disabled": true,
        "media.autoplay.default": 0,
        "media.peerconnection.ice.loopback": true,
      },
    }),
};

// Firefox keeps its certificates in the profile, and two of them can't share one.
function freshProfile() {
  const profile = fs.mkdtempSync(path.join(call.home, "firefox-"));
  fs.cpSync(path.join(call.home, "firefox"), profile, { recursive: true });
  return profile;
}

const sound = { chromium: "tone", firefox: "microphone" };

const ends = {
  heard: ([, listener]) => decodedSamples(listener) >= 48000,
  refused: (states) =>
    states.every(({ send }) => send?.gathering === "complete" && send.candidateErrors.length > 0),
};

function decodedSamples(state) {
  const inbound = state.recv?.inbound;
  return (inbound?.totalSamplesReceived ?? 0) - (inbound?.concealedSamples ?? 0);
}

async function openRoom(browserName) {
  const browser = await launch[browserName]();
  browsers.push(browser);
  const page = await browser.newPage();
  page.on("console", (message) => console.error(`${browserName}: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`${browserName}: ${error}`));
  await page.goto(`https://${call.domain}/${call.room}`);
  return page;
}

const enter = (page, sound) =>
  page.evaluate((options) => hubs.enter(options), { hubId: call.room, sound, policy: call.policy });

async function listen(pages, { action, seconds }) {
  if (action !== "nothing") for (const page of pages) await page.evaluate((name) => hubs[name](), action);
  const [began, came] = [Date.now(), []];
  let before = 0;
  do {
    const heard = await pages.at(-1).evaluate(() => hubs.heard());
    const now = Date.now();
    // It begins from nothing when the connection is made anew.
    if (heard !== before && heard > 0) came.push({ now, packets: heard > before ? heard - before : heard });
    before = heard;
    await wait(50);
  } while (Date.now() - began < seconds * 1000);
  const times = [began, ...came.map(({ now }) => now), Date.now()];
  const gaps = times.slice(1).map((time, index) => time - times[index]);
  const last = came.filter(({ now }) => now > Date.now() - 1000);
  return { gapMs: Math.max(...gaps), lastSecond: last.reduce((sum, { packets }) => sum + packets, 0) };
}

const browsers = [];
try {
  const pages = await Promise.all([call.producer, call.consumer].filter(Boolean).map(openRoom));
  await enter(pages[0], sound[call.producer]);
  if (call.consumer) await enter(pages[1]);
  const deadline = Date.now() + call.limitSeconds * 1000;
  let states;
  do {
    await wait(250);
    states = await Promise.all(pages.map((page) => page.evaluate(() => hubs.state())));
  } while (!ends[call.until](states) && Date.now() < deadline);
  let after = {};
  if (call.then) {
    console.error("heard");
    after = await listen(pages, call.then);
    states = await Promise.all(pages.map((page) => page.evaluate(() => hubs.state())));
  }
  console.log(JSON.stringify({ producer: states[0], consumer: states[1] ?? null, ...after }));
} finally {
  await Promise.all(browsers.map((browser) => browser.close()));
}
