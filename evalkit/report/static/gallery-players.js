"use strict";

// Video elements are expensive: at most eight live at a time, the oldest gives way, and what scrolls away is
// released. Nothing plays that nobody asked for.
(function () {
  var MAX = 8;
  var live = [];

  function release(video) {
    live = live.filter(function (entry) {
      if (entry.video !== video) { return true; }
      video.pause();
      video.removeAttribute("src");
      video.load();
      video.remove();
      if (entry.released) { entry.released(); }
      return false;
    });
  }

  function acquire(source, released) {
    while (live.length >= MAX) { release(live[0].video); }
    var video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    video.disablePictureInPicture = true;
    video.src = source;
    live.push({ video: video, released: released });
    return video;
  }

  evalkit.reducedMotion = function () {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
  };

  // Clips that flash more than three times a second stay covered until someone asks for this clip.
  var allowed = {};
  evalkit.covered = function (clip) { return Boolean(clip && clip.flashes) && !allowed[clip.clip]; };
  evalkit.uncover = function (clip) { allowed[clip.clip] = true; };

  evalkit.players = {
    acquire: acquire,
    release: release,
    count: function () { return live.length; },
    releaseAll: function () { live.slice().forEach(function (entry) { release(entry.video); }); }
  };

  // Several videos as one: the first leads. `lanes` are {video, rate (frames a second), frames}.
  evalkit.Group = function (lanes, onFrame, onState) {
    var lead = lanes[0];
    var speed = 1;
    var looping = !evalkit.reducedMotion();
    var span = null;
    var frame = 0;
    var wanted = 0;
    var seeking = null;
    var ticking = 0;
    var closed = false;

    function timeOf(lane, index) {
      // The middle of the frame: at its edge, rounding decides which neighbour is shown.
      return (Math.min(index, lane.frames - 1) + 0.5) / lane.rate;
    }

    function seekLane(lane, time) {
      return new Promise(function (resolve) {
        var video = lane.video;
        if (video.error) { resolve(); return; }
        if (video.readyState >= 2 && !video.seeking && Math.abs(video.currentTime - time) < 1e-3) { resolve(); return; }
        function done() {
          video.removeEventListener("seeked", done);
          video.removeEventListener("error", done);
          video.removeEventListener("emptied", done);
          resolve();
        }
        video.addEventListener("seeked", done);
        video.addEventListener("error", done);
        video.addEventListener("emptied", done);
        if (video.readyState >= 1) { video.currentTime = time; }
        else { video.addEventListener("loadedmetadata", function () { video.currentTime = time; }, { once: true }); }
      });
    }

    // Waits for every lane, so that two clips never show different frames; requests in between collapse to the last.
    function seek(index) {
      wanted = Math.max(0, Math.min(lead.frames - 1, index));
      if (seeking) { return seeking; }
      function round() {
        var target = wanted;
        return Promise.all(lanes.map(function (lane) { return seekLane(lane, timeOf(lane, target)); })).then(function () {
          frame = target;
          if (!closed) { onFrame(frame); }
          return wanted === target || closed ? undefined : round();
        });
      }
      seeking = round().then(function () { seeking = null; });
      return seeking;
    }

    function playing() { return !lead.video.paused && !lead.video.ended; }

    function tick() {
      if (closed || !playing()) { return; }
      ticking = requestAnimationFrame(tick);
      var time = lead.video.currentTime;
      var now = Math.min(lead.frames - 1, Math.floor(time * lead.rate + 0.25));
      if (now !== frame) { frame = now; wanted = now; onFrame(frame); }
      lanes.slice(1).forEach(function (lane) {
        if (lane.video.ended) { return; }
        var drift = lane.video.currentTime - time;
        if (Math.abs(drift) > 0.2) { lane.video.currentTime = time; lane.video.playbackRate = speed; }
        else { lane.video.playbackRate = speed * (Math.abs(drift) < 0.008 ? 1 : drift > 0 ? 0.97 : 1.03); }
      });
      if (span && (frame > span[1] || frame < span[0])) { restart(); }
    }

    function restart() {
      pause();
      seek(span ? span[0] : 0).then(function () { if (!closed && looping) { play(); } });
    }

    function play() {
      if (frame >= lead.frames - 1) { seek(span ? span[0] : 0).then(start); } else if (seeking) { seeking.then(start); } else { start(); }
    }

    function start() {
      if (closed) { return; }
      lanes.forEach(function (lane) {
        lane.video.playbackRate = speed;
        lane.video.play().catch(function () { /* released while starting */ });
      });
      cancelAnimationFrame(ticking);
      ticking = requestAnimationFrame(tick);
      onState(true);
    }

    function pause() {
      lanes.forEach(function (lane) { lane.video.pause(); });
      cancelAnimationFrame(ticking);
      onState(false);
    }

    lead.video.addEventListener("ended", function () {
      if (closed) { return; }
      if (looping) { restart(); } else { onState(false); }
    });

    return {
      play: play,
      toggle: function () { if (playing()) { pause(); seek(frame); } else { play(); } },
      step: function (by) { if (playing()) { pause(); } return seek((seeking ? wanted : frame) + by); },
      seek: function (index) { var was = playing(); if (was) { pause(); } return seek(index); },
      frame: function () { return frame; },
      setSpeed: function (value) { speed = value; lanes.forEach(function (lane) { lane.video.playbackRate = value; }); },
      setLoop: function (value) { looping = value; },
      loops: function () { return looping; },
      setSpan: function (value) { span = value; if (span) { restart(); if (!looping) { play(); } } },
      close: function () {
        closed = true;
        cancelAnimationFrame(ticking);
        lanes.forEach(function (lane) { release(lane.video); });
      }
    };
  };
})();
