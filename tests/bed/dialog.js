// A server that speaks as Hubs' dialog does, on the mediasoup that dialog uses.
//
// What counts is what a client or a probe can see: three UDP candidates for each transport (loopback, announced,
// announced), a protoo WebSocket that asks for no login, transports before `join`, consumers that the server starts,
// and the second, contradicting reply to a `join` that was refused. Settings have dialog's names.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import jwt from "jsonwebtoken";
import * as mediasoup from "mediasoup";
import protoo from "protoo-server";
import { reportListening, setting } from "./listening.js";

const announcedIp = setting("MEDIASOUP_ANNOUNCED_IP", "") || undefined;
// dialog takes all addresses of its node. With one of its own, it has a loopback candidate that leads nobody to it.
const ip = announcedIp ? setting("NODE_IP", "0.0.0.0") : "0.0.0.0";
const listenIps = [
  { ip: setting("MEDIASOUP_LISTEN_IP", "127.0.0.1") },
  { ip, announcedIp },
  { ip, announcedIp },
];
const permsKey = fs.readFileSync(setting("AUTH_KEY"), "utf8");
const mediaCodecs = [
  { kind: "audio", mimeType: "audio/opus", clockRate: 48000, channels: 2 },
  { kind: "video", mimeType: "video/VP8", clockRate: 90000 },
];

const worker = await mediasoup.createWorker({
  rtcMinPort: Number(setting("MEDIASOUP_MIN_PORT", "40000")),
  rtcMaxPort: Number(setting("MEDIASOUP_MAX_PORT", "49999")),
});
worker.on("died", () => process.exit(1));

const rooms = new Map();

async function roomOf(roomId) {
  if (!rooms.has(roomId)) {
    rooms.set(roomId, worker.createRouter({ mediaCodecs }).then((router) => ({ router, peers: new protoo.Room() })));
  }
  return rooms.get(roomId);
}

const server = https.createServer(
  { cert: fs.readFileSync(setting("HTTPS_CERT_FULLCHAIN")), key: fs.readFileSync(setting("HTTPS_CERT_PRIVKEY")) },
  (request, response) => {
    response.writeHead(404, { "X-Powered-By": "Express", "Content-Type": "text/html; charset=utf-8" });
    response.end("<pre>Cannot GET</pre>\n");
  },
);

new protoo.WebSocketServer(server, { maxReceivedFrameSize: 960000, maxReceivedMessageSize: 960000 }).on(
  "connectionrequest",
  async (info, accept, reject) => {
    const query = new URL(info.request.url, "https://dialog").searchParams;
    const roomId = query.get("roomId");
    const peerId = query.get("peerId");
    if (!roomId || !peerId) return reject(400, "Connection request without roomId and/or peerId");
    const room = await roomOf(roomId);
    // The newer connection of the same peer wins.
    if (room.peers.hasPeer(peerId)) room.peers.getPeer(peerId).close();
    welcome(room, await room.peers.createPeer(peerId, accept()));
  },
);

function welcome(room, peer) {
  Object.assign(peer.data, { joined: false, transports: new Map(), producers: new Map(), consumers: new Map() });
  peer.on("request", (request, accept, reject) => {
    const method = methods[request.method];
    if (!method) return reject(500, `unknown request.method "${request.method}"`);
    Promise.resolve(method({ room, peer, accept, reject }, request.data ?? {}))
      .catch((error) => reject(error));
  });
  peer.on("close", () => {
    for (const transport of peer.data.transports.values()) transport.close();
    if (peer.data.joined) for (const other of othersIn(room, peer)) other.notify("peerClosed", { peerId: peer.id });
  });
}

function othersIn(room, peer) {
  return room.peers.peers.filter((other) => other !== peer && other.data.joined);
}

function held(collection, id, what) {
  const item = collection.get(id);
  if (!item) throw new Error(`${what} with id "${id}" not found`);
  return item;
}

// Usable by anybody who connected; what needs a joined peer says so.
const methods = {
  getRouterRtpCapabilities: ({ room, accept }) => accept(room.router.rtpCapabilities),

  async join({ room, peer, accept, reject }, { displayName, device, rtpCapabilities, token }) {
    try {
      if (!jwt.verify(token, permsKey, { algorithms: ["RS512"] }).join_hub) reject(401);
    } catch (error) {
      reject(500, error.message);
    }
    // dialog goes on here after a refusal as well: a second reply leaves with the same id, and the peer is in.
    Object.assign(peer.data, { joined: true, displayName, device, rtpCapabilities });
    const others = othersIn(room, peer);
    accept({ peers: others.map(introduction) });
    for (const other of others) {
      other.notify("newPeer", introduction(peer));
      for (const producer of other.data.producers.values()) startConsumer(room, peer, other, producer);
    }
  },

  async createWebRtcTransport({ room, peer, accept }, { producing, consuming, forceTcp, sctpCapabilities }) {
    const transport = await room.router.createWebRtcTransport({
      listenIps,
      enableUdp: !forceTcp,
      enableTcp: Boolean(forceTcp),
      enableSctp: Boolean(sctpCapabilities),
      numSctpStreams: sctpCapabilities?.numStreams,
      appData: { producing, consuming },
    });
    peer.data.transports.set(transport.id, transport);
    const { id, iceParameters, iceCandidates, dtlsParameters, sctpParameters } = transport;
    accept({ id, iceParameters, iceCandidates, dtlsParameters, sctpParameters });
  },

  closeWebRtcTransport({ peer, accept }, { transportId }) {
    held(peer.data.transports, transportId, "transport").close();
    peer.data.transports.delete(transportId);
    accept();
  },

  async connectWebRtcTransport({ peer, accept }, { transportId, dtlsParameters }) {
    await held(peer.data.transports, transportId, "transport").connect({ dtlsParameters });
    accept();
  },

  async restartIce({ peer, accept }, { transportId }) {
    accept(await held(peer.data.transports, transportId, "transport").restartIce());
  },

  async getTransportStats({ peer, accept }, { transportId }) {
    accept(await held(peer.data.transports, transportId, "transport").getStats());
  },

  async produce({ room, peer, accept }, { transportId, kind, rtpParameters, appData }) {
    requireJoined(peer);
    const transport = held(peer.data.transports, transportId, "transport");
    const producer = await transport.produce({ kind, rtpParameters, appData: { ...appData, peerId: peer.id } });
    peer.data.producers.set(producer.id, producer);
    accept({ id: producer.id });
    for (const other of othersIn(room, peer)) startConsumer(room, other, peer, producer);
  },

  closeProducer({ peer, accept }, { producerId }) {
    held(peer.data.producers, producerId, "producer").close();
    peer.data.producers.delete(producerId);
    accept();
  },

  pauseProducer: switching("producers", "producerId", "pause"),
  resumeProducer: switching("producers", "producerId", "resume"),
  pauseConsumer: switching("consumers", "consumerId", "pause"),
  resumeConsumer: switching("consumers", "consumerId", "resume"),
  getProducerStats: reading("producers", "producerId"),
  getConsumerStats: reading("consumers", "consumerId"),
};

function switching(collection, idName, action) {
  return async ({ peer, accept }, data) => {
    requireJoined(peer);
    await held(peer.data[collection], data[idName], idName.replace("Id", ""))[action]();
    accept();
  };
}

function reading(collection, idName) {
  return async ({ peer, accept }, data) => {
    accept(await held(peer.data[collection], data[idName], idName.replace("Id", "")).getStats());
  };
}

function requireJoined(peer) {
  if (!peer.data.joined) throw new Error("Peer not yet joined");
}

function introduction(peer) {
  const { displayName, device, producers } = peer.data;
  return { id: peer.id, displayName, device, hasProducers: producers.size > 0 };
}

// The server, not the client, decides that a peer consumes: it asks the client with a `newConsumer` request.
async function startConsumer(room, peer, owner, producer) {
  const { rtpCapabilities, transports, consumers } = peer.data;
  const transport = [...transports.values()].find((transport) => transport.appData.consuming);
  if (!transport || !rtpCapabilities || !room.router.canConsume({ producerId: producer.id, rtpCapabilities })) return;
  const consumer = await transport.consume({ producerId: producer.id, rtpCapabilities, paused: true });
  consumers.set(consumer.id, consumer);
  const forget = () => consumers.delete(consumer.id);
  consumer.on("transportclose", forget);
  consumer.on("producerclose", () => {
    forget();
    peer.notify("consumerClosed", { consumerId: consumer.id });
  });
  try {
    await peer.request("newConsumer", {
      peerId: owner.id,
      producerId: producer.id,
      id: consumer.id,
      kind: consumer.kind,
      rtpParameters: consumer.rtpParameters,
      type: consumer.type,
      appData: producer.appData,
      producerPaused: consumer.producerPaused,
    });
    await consumer.resume();
  } catch (error) {
    console.error(`newConsumer to ${peer.id}: ${error}`);
  }
}

// Where operators ask, who are asked for nothing. Only where a port is named: several dialogs run on one machine here.
const adminPort = setting("ADMIN_LISTEN_PORT", "");
if (adminPort) {
  const admin = http.createServer((request, response) => {
    const answer = request.url === "/meta" ? { cap: 100 } : undefined;
    response.writeHead(answer ? 200 : 404, { "Content-Type": "application/json; charset=utf-8" });
    response.end(JSON.stringify(answer));
  });
  admin.listen(Number(adminPort), "0.0.0.0");
}

server.listen(Number(setting("PROTOO_LISTEN_PORT", "0")), setting("LISTEN_IP", "127.0.0.1"), () => reportListening(server));
