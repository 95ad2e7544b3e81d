// Puts the page together: what comes from the feed goes to each part of it.

import { mark, tell } from "./dom.js";
import { follow } from "./feed.js";
import { showFleet } from "./fleet.js";
import { rates } from "./rates.js";
import { slow } from "./slow.js";
import { talk } from "./talk.js";
import { showErrors } from "./trouble.js";
import { duration } from "./words.js";

const at = (id) => document.getElementById(id);
const updateRates = rates(at("charts"));
const updateSlow = slow(at);
const updateTalk = talk(at);

function notice(text, state) {
  tell(at("notices"), text);
  mark(at("notices"), "data-state", state);
}

function onSnapshot(snapshot, points) {
  const verdict = at("verdict");
  tell(verdict, snapshot.draining ? "leaving" : snapshot.verdict);
  mark(verdict, "data-state", snapshot.draining ? "degraded" : snapshot.verdict);
  tell(at("about"), `${snapshot.frontend_id} · up ${duration(snapshot.up_s)} · ${snapshot.version}`);
  document.title = snapshot.verdict === "healthy" ? "kvmesh" : `kvmesh: ${snapshot.verdict}`;
  notice(snapshot.reasons.join(" · "), snapshot.verdict);
  updateRates(points, snapshot.at_unix_s);
  showFleet(at("models"), at("fleet-note"), snapshot);
  showErrors(at("errors"), at("no-errors"), snapshot);
  updateSlow(snapshot.slowest);
  updateTalk(snapshot.models);
  mark(document.body, "data-stale", null);
}

function onLost(why) {
  tell(at("verdict"), "not connected");
  mark(at("verdict"), "data-state", "unhealthy");
  mark(document.body, "data-stale", true);
  notice(why, "unhealthy");
}

follow(onSnapshot, onLost);
