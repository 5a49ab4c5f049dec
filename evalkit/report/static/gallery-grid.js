"use strict";

// Views, filters and cards. Cards are made as they come near the screen: five thousand clips are only numbers
// until somebody scrolls.
(function () {
  var BATCH = 36;
  var make = evalkit.element;
  var board, sentinel, watcher, sparks;
  var queue = [];
  var section = null;
  var listed = [];
  var single = false;

  function views() {
    return evalkit.data.views.concat([{ id: "all", name: "All clips", note: "", sections: [] }]);
  }

  function currentView() {
    return views().find(function (view) { return view.id === evalkit.state.view; }) || views()[0];
  }

  function matches(clip, words, state) {
    if (state.category && clip.category !== state.category) { return false; }
    if (state.group && clip.group !== state.group) { return false; }
    if (state.status === "failed" && clip.status === "ok") { return false; }
    if (state.status === "reported" && !clip.reports.length) { return false; }
    if (state.status === "flashing" && !clip.flashes) { return false; }
    return words.every(function (word) { return clip.search.indexOf(word) >= 0; });
  }

  // The metric under which a clip of the full list is shown: the chosen one, else its worst.
  function headline(clip) {
    if (evalkit.state.metric !== null) { return evalkit.state.metric; }
    var best = null;
    clip.ranks.forEach(function (rank, metric) {
      if (rank === null || evalkit.data.metrics[metric].cost) { return; }
      if (best === null || rank < clip.ranks[best]) { best = metric; }
    });
    return best;
  }

  // All clips, worst first under a metric; sorted once a metric, since five thousand comparisons are felt.
  var orders = {};

  function allItems(metric) {
    if (!orders[metric]) {
      var clips = evalkit.data.clips.slice();
      if (metric !== null) {
        var sign = evalkit.data.metrics[metric].direction === "lower" ? -1 : 1;
        clips.sort(function (a, b) {
          var left = a.values[metric], right = b.values[metric];
          if (left === null || right === null) { return (left === null) - (right === null); }
          return sign * (left - right) || a.index - b.index;
        });
      }
      orders[metric] = clips.map(function (clip) { return [clip.index, null]; });
    }
    return orders[metric];
  }

  // Sections of the current view that pass the filters: [{title, note, items: [[clip, metric]]}].
  function select() {
    var state = evalkit.state;
    var words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    var view = currentView();
    var sections = view.id === "all" ? [{ title: "", note: "", items: allItems(state.metric) }] : view.sections;
    return sections.map(function (part) {
      return {
        title: part.title,
        note: part.note,
        items: part.items.filter(function (item) {
          if (view.id !== "all" && state.metric !== null && item[1] !== null && item[1] !== state.metric) { return false; }
          return matches(evalkit.data.clips[item[0]], words, state);
        })
      };
    }).filter(function (part) { return part.items.length; });
  }

  function render() {
    var began = performance.now();
    var sections = select();
    evalkit.players.releaseAll();
    board.replaceChildren();
    queue = [];
    listed = [];
    section = null;
    sections.forEach(function (part) {
      part.items.forEach(function (item) {
        var entry = { clip: item[0], metric: item[1] === null ? headline(evalkit.data.clips[item[0]]) : item[1], part: part };
        queue.push(entry);
        listed.push(entry);
      });
    });
    var count = new Set(listed.map(function (entry) { return entry.clip; })).size;
    document.getElementById("count").textContent = count === 1 ? "1 clip" : count.toLocaleString("en-US") + " clips";
    document.getElementById("note").textContent = currentView().note;
    document.getElementById("nothing").hidden = count > 0;
    more();
    board.dataset.milliseconds = (performance.now() - began).toFixed(2);
    markTabs();
  }

  function more() {
    queue.splice(0, BATCH).forEach(function (entry) {
      if (!section || section.part !== entry.part) { section = begin(entry.part); }
      section.grid.append(card(entry));
    });
    sentinel.hidden = queue.length === 0;
  }

  function begin(part) {
    var grid = make("div", { class: "tiles" });
    var heading = part.title
      ? make("h2", { text: part.title }, part.note ? make("small", { text: " " + part.note }) : null)
      : null;
    board.append(make("section", {}, heading, grid));
    return { part: part, grid: grid };
  }

  function marks(clip, metric) {
    var box = make("span", { class: "marks" });
    if (clip.status !== "ok") { box.append(make("span", { class: "mark-bad", text: "✕ " + clip.status })); }
    var other = evalkit.data.baseline && evalkit.data.baseline.clips[clip.index];
    var change = other && metric !== null && other.changes[metric];
    if (change && change[0] === "regressed") { box.append(make("span", { class: "mark-bad", text: "▼ regressed" })); }
    if (change && change[0] === "fixed") { box.append(make("span", { class: "mark-good", text: "▲ fixed" })); }
    if (clip.reports.length) { box.append(make("span", { class: "mark-bad", text: "⚑ " + clip.reports[0].severity })); }
    return box;
  }

  function card(entry) {
    var clip = evalkit.data.clips[entry.clip];
    var metric = entry.metric;
    var tile = make("article", { class: "tile", "data-key": clip.key });
    var screen = make("div", { class: "screen" + (evalkit.covered(clip) ? " covered" : "") });
    var open = make("button", {
      class: "open", type: "button", "aria-label": "Open " + clip.text.slice(0, 120) + ", seed " + clip.seed,
      on: { click: function () { evalkit.route.open(clip.key, metric); } }
    });
    if (clip.poster) {
      open.append(make("img", { src: clip.poster, alt: "", loading: "lazy", width: clip.width, height: clip.height }));
    } else {
      open.append(make("span", { class: "no-poster", dir: "auto", text: clip.error || clip.problem || "no preview" }));
    }
    screen.append(open);
    if (clip.flashes) { screen.append(make("span", { class: "flash-chip", text: "⚡ " + clip.flashes + " flashes a second" })); }
    if (evalkit.data.run.generated && clip.clip) { screen.append(make("span", { class: "ai", text: "AI-generated" })); }
    if (clip.preview) {
      screen.append(make("button", {
        class: "tile-play", type: "button", "aria-label": "Play", "aria-pressed": "false", tabindex: "-1",
        on: { click: function () { evalkit.grid.play(tile); } }
      }));
    }
    var head = make("p", { class: "tile-head" });
    var spark = make("div", { class: "tile-spark" });
    if (metric !== null) {
      head.append(
        make("span", { class: "tile-metric", text: evalkit.data.metrics[metric].title }),
        make("span", { class: "tile-value", text: evalkit.score(clip.values[metric], metric) })
      );
      spark.dataset.clip = String(clip.index);
      spark.dataset.metric = String(metric);
      if (sparks) { sparks.observe(spark); }
    }
    tile.append(screen, head, spark,
      make("p", { class: "tile-prompt", dir: "auto", text: clip.text.slice(0, 300) }),
      make("p", { class: "tile-foot" },
        make("span", { text: [clip.group, single ? "" : clip.category, clip.seed === null ? "" : "seed " + clip.seed].filter(Boolean).join(" · ") }),
        metric === null ? null : make("span", { text: evalkit.rank(clip.ranks[metric]) }),
        marks(clip, metric)));
    return tile;
  }

  function drawSpark(box) {
    var metric = Number(box.dataset.metric);
    evalkit.course(Number(box.dataset.clip), metric).then(function (course) {
      var picture = course && evalkit.spark(course, evalkit.data.metrics[metric].kind);
      if (picture) { box.replaceChildren(picture); } else { box.classList.add("none"); }
    });
  }

  function play(tile) {
    var clip = evalkit.data.clips.find(function (one) { return one.key === tile.dataset.key; });
    var screen = tile.querySelector(".screen");
    var button = tile.querySelector(".tile-play");
    var running = screen.querySelector("video");
    if (running) { evalkit.players.release(running); return; }
    if (!clip || !clip.preview) { return; }
    if (evalkit.covered(clip)) { evalkit.route.open(clip.key, null); return; }
    var video = evalkit.players.acquire(clip.preview, function () {
      screen.classList.remove("playing");
      button.setAttribute("aria-pressed", "false");
      watcher.unobserve(tile);
    });
    video.loop = !evalkit.reducedMotion();
    video.setAttribute("aria-hidden", "true");
    screen.classList.add("playing");
    button.setAttribute("aria-pressed", "true");
    screen.append(video);
    watcher.observe(tile);
    video.play().catch(function () { /* released while starting */ });
  }

  function options(select, first, values) {
    select.replaceChildren(make("option", { value: "", text: first }));
    values.forEach(function (value) { select.append(make("option", { value: value[0], text: value[1] })); });
  }

  function markTabs() {
    document.querySelectorAll("[data-view]").forEach(function (tab) {
      var chosen = tab.dataset.view === currentView().id;
      tab.setAttribute("aria-current", chosen ? "true" : "false");
    });
    var state = evalkit.state;
    document.getElementById("metric").value = state.metric === null ? "" : String(state.metric);
    document.getElementById("category").value = state.category;
    document.getElementById("status").value = state.status;
    if (document.getElementById("group")) { document.getElementById("group").value = state.group; }
    var search = document.getElementById("search");
    if (document.activeElement !== search) { search.value = state.query; }
  }

  function unique(name) {
    return Array.from(new Set(evalkit.data.clips.map(function (clip) { return clip[name]; }))).filter(Boolean).sort();
  }

  function control(id, change) {
    document.getElementById(id).addEventListener("change", function (event) { evalkit.route.set(change(event.target.value)); });
  }

  function startTools() {
    var tabs = document.getElementById("views");
    views().forEach(function (view) {
      tabs.append(make("button", {
        type: "button", "data-view": view.id, text: view.name,
        on: { click: function () { evalkit.route.set({ view: view.id }); } }
      }));
    });
    options(document.getElementById("metric"), "All metrics", evalkit.data.metrics.map(function (metric, index) {
      return [String(index), metric.title];
    }));
    single = unique("category").length < 2;
    document.getElementById("category").hidden = single;
    options(document.getElementById("category"), "All categories", unique("category").map(function (name) { return [name, name]; }));
    options(document.getElementById("status"), "Any status", [["failed", "Failed"], ["reported", "Reported"], ["flashing", "Flashing"]]);
    var groups = unique("group");
    document.getElementById("group").hidden = groups.length < 2;
    options(document.getElementById("group"), "All models", groups.map(function (name) { return [name, name]; }));
    control("metric", function (value) { return { metric: value === "" ? null : Number(value) }; });
    control("category", function (value) { return { category: value }; });
    control("status", function (value) { return { status: value }; });
    control("group", function (value) { return { group: value }; });
    document.getElementById("search").addEventListener("input", function (event) {
      evalkit.route.set({ query: event.target.value });
    });
  }

  evalkit.grid = {
    render: render,
    play: play,
    listed: function () { return listed; },
    tiles: function () { return Array.from(board.querySelectorAll(".tile")); },
    more: more,
    start: function () {
      board = document.getElementById("board");
      sentinel = document.getElementById("sentinel");
      document.getElementById("loading").hidden = true;
      new IntersectionObserver(function (entries) {
        if (entries.some(function (entry) { return entry.isIntersecting; })) { more(); }
      }, { rootMargin: "800px" }).observe(sentinel);
      watcher = new IntersectionObserver(function (entries) {
        entries.forEach(function (entry) {
          var video = entry.target.querySelector("video");
          if (!entry.isIntersecting && video) { evalkit.players.release(video); }
        });
      });
      sparks = new IntersectionObserver(function (entries) {
        entries.forEach(function (entry) {
          if (entry.isIntersecting) { sparks.unobserve(entry.target); drawSpark(entry.target); }
        });
      }, { rootMargin: "200px" });
      startTools();
    }
  };
})();
