// What the Hubs client does from joining a room to hearing somebody, as the page that the browsers load.
//
// The room's answer names dialog and carries TURN credentials; two transports are made before `join`; the microphone
// is produced over one, and dialog pushes consumers into the other. The driver calls `enter` and then reads `state`.
import { Device } from "mediasoup-client";
import { Peer, WebSocketTransport } from "protoo-client";

// mediasoup-client keeps its peer connections to itself, so each is taken down as it is made.
let newest;
const PeerConnection = window.RTCPeerConnection;
window.RTCPeerConnection = function (...options) {
  const connection = new PeerConnection(...options);
  const candidateErrors = [];
  connection.addEventListener("icecandidateerror", ({ errorCode, errorText, url }) =>
    candidateErrors.push({ errorCode, errorText, url }),
  );
  newest = { connection, candidateErrors };
  return connection;
};

let signalling;
// Sending, receiving.
let legs = [];
let consumers = [];
let room;

// Hubs asks for `all`, and for `relay` with ?force_turn.
export async function enter({ hubId, sound, policy = "relay" }) {
  const { hubs, session_id: sessionId, perms_token: token } = await joinRoom(hubId);
  const { host, port, turn } = hubs[0];
  room = { host, turn, token, policy };
  if (sound) [room.track] = (await (sound === "tone" ? tone() : microphone())).getAudioTracks();
  signalling = await connectToDialog(`wss://${host}:${port}/?roomId=${hubId}&peerId=${sessionId}`);
  await join();
  // As the Hubs client does it: what was there is closed when the connection is lost, and made anew when it is back.
  signalling.on("disconnected", leave);
  signalling.on("open", join);
}

function leave() {
  for (const { transport } of legs) transport.close();
  legs = [];
  consumers = [];
}

async function join() {
  const { host, turn, token, policy, track } = room;
  const device = new Device();
  await device.load({ routerRtpCapabilities: await signalling.request("getRouterRtpCapabilities") });
  const ice = { iceServers: iceServers(host, turn), iceTransportPolicy: policy };
  const sending = await createTransport(device, "Send", ice);
  await createTransport(device, "Recv", ice);
  await signalling.request("join", {
    displayName: "somebody",
    device: device.handlerName,
    rtpCapabilities: device.rtpCapabilities,
    token,
  });
  if (track) {
    // Not awaited: it stays pending for as long as ICE does, and `state` is what tells.
    sending.produce({ track, stopTracks: false, codecOptions: { opusStereo: true, opusDtx: true } });
  }
}

// Both URLs mean TURN over TLS over TCP to today's browsers; the Hubs client gives both.
function iceServers(host, turn) {
  const { username, credential } = turn;
  return turn.transports.flatMap(({ port }) => [
    { urls: `turns:${host}:${port}`, username, credential },
    { urls: `turns:${host}:${port}?transport=tcp`, username, credential },
  ]);
}

async function createTransport(device, direction, ice) {
  const { id, iceParameters, iceCandidates, dtlsParameters } = await signalling.request("createWebRtcTransport", {
    producing: direction === "Send",
    consuming: direction === "Recv",
  });
  const transport = device[`create${direction}Transport`]({
    id,
    iceParameters,
    iceCandidates,
    dtlsParameters,
    ...ice,
  });
  transport.on("connect", ({ dtlsParameters }, done, failed) =>
    signalling.request("connectWebRtcTransport", { transportId: id, dtlsParameters }).then(done, failed),
  );
  transport.on("produce", ({ kind, rtpParameters, appData }, done, failed) =>
    signalling.request("produce", { transportId: id, kind, rtpParameters, appData }).then(done, failed),
  );
  legs.push({ transport, ...newest });
  return transport;
}

async function connectToDialog(url) {
  const peer = new Peer(new WebSocketTransport(url, { retry: { retries: 2 } }));
  peer.on("request", async ({ method, data }, accept, reject) => {
    if (method !== "newConsumer") return reject(404, "unknown method");
    const { id, producerId, kind, rtpParameters } = data;
    const consumer = await legs[1].transport.consume({ id, producerId, kind, rtpParameters });
    consumers.push(consumer);
    play(consumer.track);
    accept();
  });
  await new Promise((resolve, reject) => {
    peer.on("open", resolve);
    peer.on("failed", () => reject(new Error(`no connection to ${url}`)));
  });
  return peer;
}

function play(track) {
  const audio = document.body.appendChild(document.createElement("audio"));
  audio.srcObject = new MediaStream([track]);
  audio.play();
}

// Joins the room over Reticulum's Phoenix socket, with nobody logged in.
function joinRoom(hubId) {
  const socket = new WebSocket(`wss://${location.hostname}/socket/websocket?vsn=2.0.0`);
  return new Promise((resolve, reject) => {
    socket.onopen = () =>
      socket.send(JSON.stringify(["1", "1", `hub:${hubId}`, "phx_join", { profile: {}, context: {} }]));
    socket.onerror = () => reject(new Error("no connection to Reticulum"));
    socket.onmessage = ({ data }) => {
      const { status, response } = JSON.parse(data)[4];
      if (status === "ok") resolve(response);
      else reject(new Error(`joining was refused: ${response.reason}`));
    };
  });
}

function microphone() {
  return navigator.mediaDevices.getUserMedia({ audio: true });
}

async function tone() {
  const context = new AudioContext();
  await context.resume();
  const oscillator = new OscillatorNode(context, { frequency: 440 });
  const destination = new MediaStreamAudioDestinationNode(context);
  oscillator.connect(destination);
  oscillator.start();
  return destination.stream;
}

// What the Hubs client does when a connection has failed.
export async function restartIce() {
  for (const { transport } of legs) {
    const iceParameters = await signalling.request("restartIce", { transportId: transport.id });
    await transport.restartIce({ iceParameters });
  }
}

// How many packets of sound have been heard, on the connection that there is now.
export async function heard() {
  // Firefox owes the answer for ever if the connection is closed meanwhile.
  const soon = new Promise((resolve) => setTimeout(resolve, 1000));
  const stats = await Promise.race([legs[1]?.connection.getStats(), soon]);
  const inbound = [...(stats?.values() ?? [])].find((report) => report.type === "inbound-rtp");
  return inbound?.packetsReceived ?? 0;
}

// Both connections as the browser and as dialog see them.
export async function state() {
  const [send, recv] = await Promise.all(legs.map(legState));
  return { send, recv };
}

async function legState({ transport, connection, candidateErrors }) {
  const stats = [...(await connection.getStats()).values()];
  const byId = new Map(stats.map((report) => [report.id, report]));
  const audio = (type) => stats.find((report) => report.type === type && report.kind === "audio") ?? null;
  const pair =
    byId.get(stats.find((report) => report.type === "transport")?.selectedCandidatePairId) ??
    stats.find((report) => report.type === "candidate-pair" && report.nominated && report.state === "succeeded");
  const ends = [...connection.getSenders(), ...connection.getReceivers()];
  const [dialog] = await signalling.request("getTransportStats", { transportId: transport.id });
  return {
    ice: connection.iceConnectionState,
    gathering: connection.iceGatheringState,
    dtls: ends.find((end) => end.transport)?.transport.state ?? null,
    localCandidate: byId.get(pair?.localCandidateId) ?? null,
    remoteCandidate: byId.get(pair?.remoteCandidateId) ?? null,
    candidateErrors,
    inbound: audio("inbound-rtp"),
    outbound: audio("outbound-rtp"),
    dialog,
  };
}
