"use strict";

// One clip in full: players side by side, timeline, film strip, evidence, metrics, settings, and what to do next.
(function () {
  var make = evalkit.element;
  var LETTERS = ["A", "B", "C"];
  var dialog, panes, timelineBox;
  var clip = null;
  var metric = null;
  var course = null;
  var group = null;
  var line = null;
  var mode = "both";
  var heat = false;
  var others = [null, null];
  var token = 0;

  function byId(id) { return document.getElementById(id); }

  // What A can be compared with: the same clip of the baseline, and other samples of the same prompt.
  function candidates() {
    var found = [];
    var old = evalkit.data.baseline && evalkit.data.baseline.clips[clip.index];
    if (old && old.preview) {
      found.push({ id: "baseline", name: "Baseline: " + evalkit.data.baseline.name, clip: old });
    }
    evalkit.data.clips.forEach(function (other) {
      if (other !== clip && other.prompt === clip.prompt && other.preview) {
        var who = other.group && other.group !== clip.group ? other.group + ", " : "";
        var which = other.seed === null ? "sample " + other.sample : "seed " + other.seed;
        found.push({ id: other.key, name: who + which, clip: other });
      }
    });
    return found;
  }

  function fillChoices() {
    var found = candidates();
    ["compare-b", "compare-c"].forEach(function (id, position) {
      var select = byId(id);
      var keep = others[position] && others[position].id;
      select.replaceChildren(make("option", { value: "", text: "nothing" }));
      found.forEach(function (one) { select.append(make("option", { value: one.id, text: one.name })); });
      others[position] = found.find(function (one) { return one.id === keep; }) || null;
      if (position === 0 && !others[0] && found.length && found[0].id === "baseline") { others[0] = found[0]; }
      select.value = others[position] ? others[position].id : "";
      select.disabled = found.length === 0;
    });
  }

  function shown() {
    var list = [{ clip: clip, source: clip.preview, title: "This run" + (clip.group ? ", " + clip.group : "") }];
    others.forEach(function (other) { if (other) { list.push({ clip: other.clip, source: other.clip.preview, title: other.name }); } });
    return list;
  }

  function closeGroup() {
    if (group) { group.close(); group = null; }
    evalkit.players.releaseAll();
  }

  function build(startFrame) {
    closeGroup();
    panes.replaceChildren();
    panes.className = "panes";
    var list = shown();
    if (!clip.preview) {
      panes.append(make("p", { class: "no-poster", dir: "auto", text: clip.error || clip.problem || "There is no preview of this clip." }));
      buttons(false);
      return;
    }
    if (list.some(function (one) { return evalkit.covered(one.clip); })) { cover(list, startFrame); buttons(false); return; }
    buttons(true);
    var lanes = list.map(function (one, position) { return pane(LETTERS[position], one.title, one.source, one.clip); });
    if (heat && clip.heat) { lanes.push(pane("Heat", "what motion does not explain", clip.heat, clip)); }
    panes.dataset.count = String(lanes.length);
    applyMode();
    group = evalkit.Group(lanes, onFrame, onState);
    group.setSpeed(Number(byId("speed").value));
    byId("loop").setAttribute("aria-pressed", String(group.loops()));
    group.seek(startFrame);
  }

  function pane(letter, title, source, which) {
    var video = evalkit.players.acquire(source, null);
    video.setAttribute("aria-label", letter + ": " + title);
    var figure = make("figure", { class: "pane", "data-pane": letter },
      make("figcaption", {}, make("b", { text: letter }), make("span", { text: title })), video);
    if (evalkit.data.run.generated && letter !== "Heat") { figure.append(make("span", { class: "ai", text: "AI-generated" })); }
    panes.append(figure);
    return { video: video, rate: which.rate, frames: which.frames || 1 };
  }

  function cover(list, startFrame) {
    var most = Math.max.apply(null, list.map(function (one) { return one.clip.flashes || 0; }));
    function reveal(speed) {
      return function () {
        list.forEach(function (one) { evalkit.uncover(one.clip); });
        byId("speed").value = speed;
        build(startFrame);
        byId("play").focus();
      };
    }
    panes.append(make("div", { class: "flash-cover" },
      make("p", {}, make("b", { text: "This clip flashes " + most + " times a second." })),
      make("p", { text: "Flashes above three a second can trigger seizures. It starts paused." }),
      make("div", { class: "flash-buttons" },
        make("button", { type: "button", text: "Show at quarter speed", on: { click: reveal("0.25") } }),
        make("button", { type: "button", text: "Show at full speed", on: { click: reveal("1") } }))));
  }

  function buttons(ready) {
    ["play", "back", "forward", "loop", "window"].forEach(function (id) { byId(id).disabled = !ready; });
    byId("window").disabled = !ready || !(course && course.window);
    byId("heat").disabled = !ready || !clip.heat;
    byId("heat").title = clip.heat ? "Warp-error heat map (h)" : "Heat maps are made for the clips of the listed views";
    ["mode-a", "mode-b", "mode-both", "mode-difference"].forEach(function (id) { byId(id).disabled = !ready || !others[0]; });
  }

  function applyMode() {
    var use = others[0] ? mode : "a";
    panes.classList.toggle("only-a", use === "a" && Boolean(others[0]));
    panes.classList.toggle("only-b", use === "b");
    panes.classList.toggle("difference", use === "difference");
    [["mode-a", "a"], ["mode-b", "b"], ["mode-both", "both"], ["mode-difference", "difference"]].forEach(function (pair) {
      byId(pair[0]).setAttribute("aria-pressed", String(others[0] !== null && use === pair[1]));
    });
    byId("heat").setAttribute("aria-pressed", String(heat && Boolean(clip.heat)));
  }

  function onFrame(frame) {
    if (line) { line.show(frame); }
    byId("frame").textContent = "frame " + frame + " of " + ((clip.frames || 1) - 1);
    byId("time").textContent = (frame / clip.rate).toFixed(2) + " s";
    var mark = byId("strip-head");
    if (!mark.hidden) { mark.style.left = ((frame + 0.5) / clip.frames) * 100 + "%"; }
    dialog.dataset.frame = String(frame);
  }

  function onState(playing) {
    byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    byId("play").classList.toggle("is-playing", playing);
  }

  function seek(frame) { if (group) { group.seek(frame); } else { onFrame(frame); } }

  function chooseMetric(position) {
    metric = position;
    var mine = ++token;
    byId("evidence").textContent = "";
    if (metric === null) { return Promise.resolve(); }
    return evalkit.course(clip.index, metric).then(function (found) {
      if (mine !== token) { return; }
      course = found;
      line = evalkit.timeline(timelineBox, clip, metric, course, seek);
      line.show(Number(dialog.dataset.frame || 0));
      byId("timeline-title").textContent = evalkit.data.metrics[metric].title;
      byId("evidence").textContent = course ? course.sentence : (clip.missing[metric] || "");
      byId("window").disabled = !group || !(course && course.window);
      byId("window").textContent = course && course.window
        ? "Loop frames " + course.window[0] + "–" + course.window[1] : "Loop worst window";
      document.querySelectorAll("#metrics [data-metric]").forEach(function (row) {
        row.setAttribute("aria-pressed", String(Number(row.dataset.metric) === metric));
      });
      commands();
    });
  }

  function metricTable() {
    var body = byId("metrics");
    body.replaceChildren();
    var old = evalkit.data.baseline && evalkit.data.baseline.clips[clip.index];
    byId("metrics-baseline").hidden = !old;
    evalkit.data.metrics.forEach(function (facts, position) {
      var value = clip.values[position];
      var rank = clip.ranks[position];
      var button = make("button", {
        type: "button", "data-metric": String(position), "aria-pressed": "false", title: facts.description,
        text: facts.title, on: { click: function () { chooseMetric(position); } }
      });
      var row = make("tr", {}, make("th", { scope: "row" }, button));
      if (value === null) {
        row.append(make("td", { class: "reason", colspan: old ? 3 : 2, dir: "auto", text: (clip.missing[position] || "no score").slice(0, 200) }));
      } else {
        row.append(make("td", { class: "num", text: evalkit.score(value, position) }), rankCell(rank));
        if (old) {
          var change = old.changes && old.changes[position];
          var cell = make("td", { class: "num", text: old.values ? evalkit.number(old.values[position], facts.decimals) : "–" });
          if (change && change[0] === "regressed") { cell.append(make("span", { class: "bad", text: " ▼", title: "regressed" })); }
          if (change && change[0] === "fixed") { cell.append(make("span", { class: "good", text: " ▲", title: "fixed" })); }
          row.append(cell);
        }
      }
      body.append(row);
    });
  }

  function rankCell(rank) {
    var bar = make("svg:svg", { class: "rank-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      make("svg:rect", { class: "rank-all", width: 100, height: 8 }),
      make("svg:rect", { class: rank <= 10 ? "rank-low" : "rank-part", width: Math.max(2, rank), height: 8 }));
    return make("td", { class: "rank" }, bar, make("span", { text: rank + "%" }));
  }

  function facts() {
    var run = evalkit.data.run;
    var prompt = evalkit.data.prompts[clip.prompt] || { negative: "", tags: [] };
    byId("detail-title").textContent = clip.text;
    var negative = byId("negative");
    negative.hidden = !prompt.negative;
    negative.textContent = prompt.negative ? "Negative: " + prompt.negative : "";
    var list = byId("facts");
    list.replaceChildren();
    var pairs = [
      ["Prompt", clip.prompt], ["Category", clip.category], ["Model", clip.group || (run.model + " " + run.revision).trim()],
      ["Sample", String(clip.sample)], ["Seed", clip.seed === null ? "" : String(clip.seed)],
      ["Size", clip.width ? clip.width + " × " + clip.height : ""],
      ["Length", clip.frames ? clip.frames + " frames at " + clip.fps + " fps" : ""],
      ["Generated in", clip.seconds === null ? "" : clip.seconds.toFixed(2) + " s"], ["Clip", clip.clip || ""],
      ["File", evalkit.data.run.kind === "score" ? clip.file || "" : ""]
    ];
    var settings = {};
    try { settings = JSON.parse(clip.settings); } catch (error) { settings = { settings: clip.settings }; }
    Object.keys(settings).forEach(function (name) {
      var value = settings[name];
      pairs.push([name.replace(/_/g, " "), typeof value === "object" ? JSON.stringify(value) : String(value)]);
    });
    pairs.filter(function (pair) { return pair[1]; }).forEach(function (pair) {
      list.append(make("div", {}, make("dt", { text: pair[0] }), make("dd", { text: pair[1], dir: "auto" })));
    });
    var reports = byId("reports");
    reports.replaceChildren();
    clip.reports.forEach(function (report) {
      reports.append(make("li", {}, make("b", { text: report.severity + " " + report.category }),
        make("span", { text: " " + report.status + (report.title ? ": " + report.title : "") + " " }),
        make("code", { text: report.id })));
    });
    byId("reports-box").hidden = clip.reports.length === 0;
    var original = byId("original");
    original.hidden = !clip.original;
    if (clip.original) { original.href = clip.original; }
  }

  function quote(text) {
    return /^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'";
  }

  // The run's own command, for this prompt alone and into another folder.
  function reproduce() {
    var command = evalkit.data.run.command;
    if (evalkit.data.run.kind === "score" || !command.length) { return ""; }
    var kept = [];
    for (var index = 0; index < command.length; index += 1) {
      var word = command[index];
      if (["--out", "--limit", "--category", "--tag", "--prompt"].indexOf(word) >= 0) { index += 1; continue; }
      if (/^--(out|limit|category|tag|prompt)=/.test(word)) { continue; }
      kept.push(word);
    }
    return kept.concat(["--prompt", clip.prompt, "--out", "again/" + clip.prompt.replace(/[^A-Za-z0-9._-]/g, "-")]).map(quote).join(" ");
  }

  function commands() {
    var again = reproduce();
    byId("reproduce-box").hidden = !again || clip.seed === null;
    byId("reproduce").textContent = again;
    var leaf = metric === null ? "" : evalkit.data.metrics[metric].leaf;
    var words = ["evalkit", "failures", "new", "--run", evalkit.data.run.folder, "--clip", clip.clip || ""];
    words.push("--category", leaf || "CATEGORY", "--severity", "S1");
    if (course && course.window) { words.push("--frames", course.window[0] + "-" + course.window[1]); }
    byId("report-command").textContent = words.map(quote).join(" ");
    // The form of the local web app: on its own pages the one that served them, which may lie below a path of a
    // reverse proxy; from a file the default address.
    var below = /^(.*)\/runs\/[^/]+\/files\//.exec(location.pathname);
    var base = location.protocol.indexOf("http") === 0 ? location.origin + (below ? below[1] : "") : "http://127.0.0.1:8765";
    byId("report-link").href = base + "/file?" + new URLSearchParams({ run: evalkit.data.run.id, clip: clip.clip || "" });
  }

  function copy(button) {
    var code = byId(button.dataset.copy);
    function said(text) { button.textContent = text; setTimeout(function () { button.textContent = "Copy"; }, 1500); }
    function select() {
      getSelection().selectAllChildren(code);
      said("Press Ctrl+C");
    }
    if (!navigator.clipboard) { select(); return; }
    navigator.clipboard.writeText(code.textContent).then(function () { said("Copied"); }, select);
  }

  function strip() {
    var image = byId("strip-image");
    var box = byId("strip");
    box.hidden = !clip.strip || evalkit.covered(clip);
    if (box.hidden) { return; }
    image.src = clip.strip;
    image.alt = clip.stripFrames.length + " frames from start to end";
  }

  function show(key, wantedMetric, frame) {
    clip = evalkit.data.clips.find(function (one) { return one.key === key; });
    if (!clip) { evalkit.route.close(); return; }
    course = null;
    line = null;
    dialog.dataset.frame = String(frame || 0);
    if (!dialog.open) { dialog.showModal(); }
    dialog.scrollTop = 0;
    facts();
    fillChoices();
    metricTable();
    strip();
    position();
    build(frame || 0);
    var first = clip.ranks.reduce(function (best, rank, index) {
      return rank !== null && !evalkit.data.metrics[index].cost && (best === null || rank < clip.ranks[best]) ? index : best;
    }, null);
    var chosen = wantedMetric === null || wantedMetric === undefined ? first : wantedMetric;
    byId("timeline-block").hidden = chosen === null;
    chooseMetric(chosen).then(function () {
      if (frame === null && course && course.window) { seek(course.window[2]); }
    });
    commands();
  }

  function position() {
    var list = evalkit.grid.listed();
    var at = list.findIndex(function (entry) { return evalkit.data.clips[entry.clip] === clip; });
    byId("position").textContent = at < 0 ? "" : at + 1 + " of " + list.length;
  }

  function move(by) {
    var list = evalkit.grid.listed();
    var at = list.findIndex(function (entry) {
      return evalkit.data.clips[entry.clip] === clip && (entry.metric === metric || evalkit.state.shown === null);
    });
    if (at < 0) { at = list.findIndex(function (entry) { return evalkit.data.clips[entry.clip] === clip; }); }
    var next = list[at + by];
    if (next) { evalkit.route.open(evalkit.data.clips[next.clip].key, next.metric, true); }
  }

  function setMode(next) {
    if (!others[0]) { return; }
    mode = next;
    applyMode();
  }

  function close() {
    closeGroup();
    if (dialog.open) { dialog.close(); }
    clip = null;
  }

  function wire() {
    byId("play").addEventListener("click", function () { if (group) { group.toggle(); } });
    byId("back").addEventListener("click", function () { if (group) { group.step(-1); } });
    byId("forward").addEventListener("click", function () { if (group) { group.step(1); } });
    byId("loop").addEventListener("click", function () {
      group.setLoop(!group.loops());
      byId("loop").setAttribute("aria-pressed", String(group.loops()));
    });
    byId("window").addEventListener("click", function () {
      var on = byId("window").getAttribute("aria-pressed") !== "true";
      byId("window").setAttribute("aria-pressed", String(on));
      group.setSpan(on ? course.window : null);
    });
    byId("speed").addEventListener("change", function (event) { if (group) { group.setSpeed(Number(event.target.value)); } });
    [["mode-a", "a"], ["mode-b", "b"], ["mode-both", "both"], ["mode-difference", "difference"]].forEach(function (pair) {
      byId(pair[0]).addEventListener("click", function () { setMode(pair[1]); });
    });
    byId("heat").addEventListener("click", function () { evalkit.detail.key("h"); });
    ["compare-b", "compare-c"].forEach(function (id, index) {
      byId(id).addEventListener("change", function (event) {
        others[index] = candidates().find(function (one) { return one.id === event.target.value; }) || null;
        build(group ? group.frame() : 0);
      });
    });
    byId("previous").addEventListener("click", function () { move(-1); });
    byId("next").addEventListener("click", function () { move(1); });
    byId("close").addEventListener("click", function () { evalkit.route.close(); });
    dialog.addEventListener("cancel", function (event) { event.preventDefault(); evalkit.route.close(); });
    byId("strip").addEventListener("click", function (event) {
      var frame = byId("strip-image").getBoundingClientRect();
      seek(Math.floor(((event.clientX - frame.left) / frame.width) * clip.frames));
    });
    document.querySelectorAll("[data-copy]").forEach(function (button) {
      button.addEventListener("click", function () { copy(button); });
    });
  }

  evalkit.detail = {
    start: function () {
      dialog = byId("detail");
      panes = byId("panes");
      timelineBox = byId("timeline");
      wire();
    },
    show: show,
    close: close,
    isOpen: function () { return dialog.open; },
    current: function () { return { clip: clip, metric: metric, group: group }; },
    // One key of the keyboard; true when it meant something here.
    key: function (key) {
      var stretch = course && course.window;
      var actions = {
        " ": function () { if (group) { group.toggle(); } },
        ",": function () { if (group) { group.step(-1); } },
        ".": function () { if (group) { group.step(1); } },
        "[": function () { if (stretch) { seek(stretch[0]); } },
        "]": function () { if (stretch) { seek(stretch[1]); } },
        "1": function () { setMode("a"); },
        "2": function () { setMode("b"); },
        "b": function () { setMode("both"); },
        "d": function () { setMode(mode === "difference" ? "both" : "difference"); },
        "h": function () { if (clip.heat) { heat = !heat; build(group ? group.frame() : 0); } },
        "j": function () { move(1); },
        "k": function () { move(-1); },
        "x": function () { byId("report-box").open = true; byId("report-link").focus(); }
      };
      if (!actions[key]) { return false; }
      actions[key]();
      return true;
    }
  };
})();
