"use strict";

// The address says what is shown, so that any state can be sent to someone; the keyboard reaches everything.
(function () {
  var FILTERS = { view: "worst", category: "", group: "", status: "", query: "" };

  function read() {
    var given = new URLSearchParams(location.hash.slice(1));
    var state = {};
    Object.keys(FILTERS).forEach(function (name) { state[name] = given.get(name) || FILTERS[name]; });
    state.metric = metricOf(given.get("metric"));
    state.clip = given.get("clip");
    state.shown = metricOf(given.get("shown"));
    state.frame = given.get("frame") === null ? null : Math.max(0, parseInt(given.get("frame"), 10) || 0);
    return state;
  }

  function metricOf(id) {
    var found = evalkit.data.metrics.findIndex(function (metric) { return metric.id === id; });
    return found < 0 ? null : found;
  }

  function write(state) {
    var words = new URLSearchParams();
    Object.keys(FILTERS).forEach(function (name) { if (state[name] !== FILTERS[name]) { words.set(name, state[name]); } });
    if (state.metric !== null) { words.set("metric", evalkit.data.metrics[state.metric].id); }
    if (state.clip) { words.set("clip", state.clip); }
    if (state.clip && state.shown !== null) { words.set("shown", evalkit.data.metrics[state.shown].id); }
    if (state.clip && state.frame !== null) { words.set("frame", state.frame); }
    return "#" + words.toString();
  }

  var shown = null;

  function filters(state) {
    return JSON.stringify(Object.keys(FILTERS).map(function (name) { return state[name]; }).concat(state.metric));
  }

  function apply() {
    var state = read();
    var before = shown;
    evalkit.state = state;
    if (!before || filters(before) !== filters(state)) { evalkit.grid.render(); }
    if (state.clip) {
      if (!before || before.clip !== state.clip || before.shown !== state.shown || before.frame !== state.frame) {
        evalkit.detail.show(state.clip, state.shown, state.frame);
      }
    } else {
      evalkit.detail.close();
      if (before && before.clip) { focusTile(before.clip); }
    }
    shown = state;
  }

  function focusTile(key) {
    var tile = evalkit.grid.tiles().find(function (one) { return one.dataset.key === key; });
    if (tile) { tile.querySelector(".open").focus(); }
  }

  function go(state, replace) {
    var hash = write(state);
    if (replace) { location.replace(hash); } else { location.hash = hash; }
  }

  evalkit.route = {
    start: function () {
      addEventListener("hashchange", apply);
      document.addEventListener("keydown", onKey);
      apply();
    },
    set: function (changes) { go(Object.assign({}, evalkit.state, changes), true); },
    open: function (key, metric, replace) {
      go(Object.assign({}, evalkit.state, { clip: key, shown: metric === undefined ? null : metric, frame: null }), replace);
    },
    close: function () { go(Object.assign({}, evalkit.state, { clip: null, shown: null, frame: null }), true); }
  };

  function typing(target) { return /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName); }

  function stepTile(by) {
    var tiles = evalkit.grid.tiles();
    var at = tiles.indexOf(document.activeElement && document.activeElement.closest(".tile"));
    if (at + by >= tiles.length) { evalkit.grid.more(); tiles = evalkit.grid.tiles(); }
    var next = tiles[at < 0 ? 0 : Math.max(0, Math.min(tiles.length - 1, at + by))];
    if (next) {
      next.querySelector(".open").focus();
      next.scrollIntoView({ block: "nearest" });
    }
  }

  function onGrid(event) {
    var tile = document.activeElement && document.activeElement.closest(".tile");
    if (event.key === "j" || event.key === "k") { stepTile(event.key === "j" ? 1 : -1); return true; }
    if (event.key === " " && tile) { evalkit.grid.play(tile); return true; }
    if (event.key === "x" && tile) {
      // Registered after the page's own listener, so that the detail view is open when this runs.
      addEventListener("hashchange", function () { evalkit.detail.key("x"); }, { once: true });
      evalkit.route.open(tile.dataset.key, null);
      return true;
    }
    return false;
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    var help = document.getElementById("help");
    if (typing(event.target)) {
      if (event.key === "Escape") { event.target.blur(); }
      return;
    }
    if (event.key === "?") {
      event.preventDefault();
      if (help.open) { help.close(); } else { help.showModal(); }
      return;
    }
    if (help.open) { return; }
    if (event.key === "/" && !evalkit.detail.isOpen()) {
      event.preventDefault();
      document.getElementById("search").focus();
      return;
    }
    // A focused button owns the space bar, except a card's: there it plays, and Enter opens.
    if (event.key === " " && event.target.matches("button, a, summary, [role=slider]") && !event.target.matches(".open")) { return; }
    var done = evalkit.detail.isOpen() ? evalkit.detail.key(event.key) : onGrid(event);
    if (done) { event.preventDefault(); }
  }

  document.getElementById("help-button").addEventListener("click", function () { document.getElementById("help").showModal(); });
  document.getElementById("help-close").addEventListener("click", function () { document.getElementById("help").close(); });
})();
