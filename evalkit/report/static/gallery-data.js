"use strict";

// Data comes as classic scripts that call evalkitData(name, value): fetch and modules fail on file://.
// Everything shared between the parts of the gallery hangs on this one object.
var evalkit = { data: null, state: {} };

(function () {
  var arrived = {};
  var waiting = {};

  window.evalkitData = function (name, value) {
    arrived[name] = value;
    if (name === "gallery") { evalkit.start(value); }
    (waiting[name] || []).forEach(function (settle) { settle(value); });
    delete waiting[name];
  };

  function load(name) {
    if (name in arrived) { return Promise.resolve(arrived[name]); }
    return new Promise(function (resolve) {
      if (waiting[name]) { waiting[name].push(resolve); return; }
      waiting[name] = [resolve];
      var script = document.createElement("script");
      script.src = "data/" + name + ".js";
      script.addEventListener("error", function () { window.evalkitData(name, {}); });
      document.head.append(script);
    });
  }

  // Series, worst window and sentence of one clip under one metric; null where it has no score.
  evalkit.course = function (clip, metric) {
    if (evalkit.data.clips[clip].values[metric] === null) { return Promise.resolve(null); }
    var block = Math.floor(clip / evalkit.data.block);
    return load("series-" + metric + "-" + block).then(function (entries) {
      var entry = entries[clip];
      return entry ? { values: entry[0], window: entry[1], sentence: entry[2] } : null;
    });
  };

  evalkit.start = function (data) {
    data.clips.forEach(function (clip, index) {
      clip.index = index;
      clip.rate = rate(clip.fps);
      var prompt = data.prompts[clip.prompt];
      clip.text = prompt ? prompt.text : clip.prompt;
      clip.search = [clip.text, clip.prompt, clip.category, clip.group, clip.clip || "", "seed " + clip.seed]
        .concat(prompt ? prompt.tags : []).join("\n").toLowerCase();
    });
    if (data.baseline) {
      data.baseline.clips.forEach(function (clip) { clip.rate = rate(clip.fps); });
    }
    evalkit.data = data;
    evalkit.grid.start();
    evalkit.detail.start();
    evalkit.route.start();
  };

  function rate(fps) {
    if (!fps) { return 8; }
    var parts = fps.split("/");
    return Number(parts[0]) / Number(parts[1] || 1);
  }

  // The page was moved without its data folder.
  window.addEventListener("error", function (event) {
    if (event.target && event.target.dataset && "required" in event.target.dataset) {
      var note = document.getElementById("loading");
      note.hidden = false;
      note.textContent = "The data of this gallery is missing: keep the folder “data” beside index.html, "
        + "or render it again with “evalkit gallery RUN”.";
    }
  }, true);

  // element("p", {class: "x", text: "..."}, child, ...): text is always text, never markup.
  evalkit.element = function (tag, attributes) {
    var made = tag.indexOf("svg:") === 0
      ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
      : document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) {
      var value = attributes[name];
      if (value === null || value === undefined || value === false) { return; }
      if (name === "text") { made.textContent = value; }
      else if (name === "on") { Object.keys(value).forEach(function (type) { made.addEventListener(type, value[type]); }); }
      else { made.setAttribute(name, value === true ? "" : value); }
    });
    for (var index = 2; index < arguments.length; index += 1) {
      if (arguments[index] !== null && arguments[index] !== undefined) { made.append(arguments[index]); }
    }
    return made;
  };

  evalkit.number = function (value, decimals) {
    if (value === null || value === undefined) { return "–"; }
    return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
      .replace("-", "−");
  };

  evalkit.score = function (value, metric) {
    var facts = evalkit.data.metrics[metric];
    return evalkit.number(value, facts.decimals) + (facts.unit ? " " + facts.unit : "");
  };

  evalkit.rank = function (percent) {
    if (percent === null || percent === undefined) { return ""; }
    if (percent <= 0) { return "worst"; }
    return percent <= 50 ? "worse than " + Math.min(99, 100 - percent) + "%" : "better than " + Math.min(99, percent) + "%";
  };
})();
