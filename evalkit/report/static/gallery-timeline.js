"use strict";

// A metric's course over a clip: line, what is usual, the worst stretch shaded, and a playhead. A slider for
// keyboards and screen readers; a click seeks.
(function () {
  var WIDTH = 1000;
  var HEIGHT = 100;
  var make = evalkit.element;

  function positions(course, kind, frames) {
    return course.values.map(function (value, index) {
      return ((kind === "transition" ? index + 1 : index + 0.5) / frames) * WIDTH;
    });
  }

  function vertical(values, typical) {
    var low = Math.min.apply(null, values.concat(typical));
    var high = Math.max.apply(null, values.concat(typical));
    var span = high - low || 1;
    return function (value) { return HEIGHT - 8 - ((value - low) / span) * (HEIGHT - 16); };
  }

  evalkit.timeline = function (box, clip, metric, course, seek) {
    var facts = evalkit.data.metrics[metric];
    var frames = clip.frames || 1;
    var picture = make("svg:svg", { viewBox: "0 0 " + WIDTH + " " + HEIGHT, preserveAspectRatio: "none", "aria-hidden": "true" });
    var top = make("span", { class: "axis axis-top" });
    var bottom = make("span", { class: "axis axis-bottom" });
    if (course && course.window) {
      var left = (course.window[0] / frames) * WIDTH;
      var right = ((course.window[1] + 1) / frames) * WIDTH;
      picture.append(make("svg:rect", { class: "tl-window", x: left, y: 0, width: right - left, height: HEIGHT }));
    }
    if (course && course.values.length > 1) {
      var usual = facts.typical === null ? [] : [facts.typical];
      var y = vertical(course.values, usual);
      var x = positions(course, facts.kind, frames);
      if (usual.length) {
        picture.append(make("svg:line", { class: "tl-typical", x1: 0, x2: WIDTH, y1: y(usual[0]), y2: y(usual[0]) }));
      }
      picture.append(make("svg:polyline", {
        class: "tl-line",
        points: course.values.map(function (value, index) { return x[index].toFixed(1) + "," + y(value).toFixed(1); }).join(" ")
      }));
      top.textContent = evalkit.number(Math.max.apply(null, course.values.concat(usual)), facts.decimals);
      bottom.textContent = evalkit.number(Math.min.apply(null, course.values.concat(usual)), facts.decimals);
    }
    var head = make("svg:rect", { class: "tl-head", y: 0, width: WIDTH / frames, height: HEIGHT });
    picture.append(head);
    var empty = course && course.values.length > 1 ? null : make("span", { class: "tl-empty", text: "This metric has no course over time." });

    function at(event) {
      var frame = box.getBoundingClientRect();
      return Math.max(0, Math.min(clip.frames - 1, Math.floor(((event.clientX - frame.left) / frame.width) * clip.frames)));
    }
    box.replaceChildren(picture, top, bottom);
    if (empty) { box.append(empty); }
    box.setAttribute("aria-valuemin", "0");
    box.setAttribute("aria-valuemax", String(frames - 1));
    box.setAttribute("aria-label", facts.title + " over time; frame");
    box.onpointerdown = function (event) {
      if (event.button !== 0) { return; }
      box.setPointerCapture(event.pointerId);
      seek(at(event));
      box.onpointermove = function (moved) { seek(at(moved)); };
      box.onpointerup = function () { box.onpointermove = null; };
    };
    box.onkeydown = function (event) {
      var now = Number(box.getAttribute("aria-valuenow"));
      var target = { ArrowLeft: now - 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowUp: now + 1, Home: 0, End: frames - 1, PageUp: now + 10, PageDown: now - 10 }[event.key];
      if (target === undefined) { return; }
      event.preventDefault();
      seek(Math.max(0, Math.min(frames - 1, target)));
    };
    return {
      show: function (frame) {
        head.setAttribute("x", String((frame / frames) * WIDTH));
        box.setAttribute("aria-valuenow", String(frame));
        box.setAttribute("aria-valuetext", "frame " + frame + " of " + (frames - 1));
      }
    };
  };

  // The small line on a card.
  evalkit.spark = function (course, kind) {
    var count = course.values.length;
    if (count < 2) { return null; }
    var step = 160 / (count - 1);
    var low = Math.min.apply(null, course.values);
    var span = Math.max.apply(null, course.values) - low || 1;
    function y(value) { return 25 - ((value - low) / span) * 22; }
    var picture = make("svg:svg", { class: "spark", viewBox: "0 0 160 28", preserveAspectRatio: "none", "aria-hidden": "true" });
    if (course.window) {
      var last = Math.min(count - 1, kind === "transition" ? course.window[1] - 1 : course.window[1]);
      var left = Math.max(0, (course.window[0] - 0.5) * step);
      var right = Math.min(160, (last + 0.5) * step);
      picture.append(make("svg:rect", { class: "spark-window", x: left, y: 0, width: Math.max(2, right - left), height: 28 }));
      picture.append(make("svg:line", { class: "spark-peak", x1: course.window[2] * step, x2: course.window[2] * step, y1: 0, y2: 28 }));
    }
    picture.append(make("svg:polyline", {
      class: "spark-line",
      points: course.values.map(function (value, index) { return (index * step).toFixed(1) + "," + y(value).toFixed(1); }).join(" ")
    }));
    return picture;
  };
})();
