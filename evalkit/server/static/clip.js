"use strict";

// Clips: frame-exact stepping, spans on the timeline, boxes on the picture, thumbnails, pairs. Nothing plays by itself.
(function () {
  var SVG = "http://www.w3.org/2000/svg";
  var still = matchMedia("(prefers-reduced-motion: reduce)");

  // Flashes above three a second can trigger seizures: such a clip is covered until somebody asks for it.
  function cover(box, flashes, reveal) {
    if (box.querySelector(".flash-cover")) { return; }
    var cover = document.createElement("div"), told = document.createElement("p");
    cover.className = "flash-cover";
    told.textContent = "This clip flashes " + flashes + " times a second, which can trigger seizures.";
    cover.append(told);
    [["Show at quarter speed", 0.25], ["Show at full speed", 1]].forEach(function (option) {
      var button = document.createElement("button");
      button.type = "button";
      button.className = "button slim";
      button.textContent = option[0];
      button.addEventListener("click", function () { cover.remove(); reveal(option[1]); });
      cover.append(button);
    });
    box.append(cover);
  }

  function setSpeed(video, speed) {
    video.defaultPlaybackRate = speed;
    video.playbackRate = speed;
  }

  function rate(text) {
    var parts = String(text || "").split("/");
    var value = Number(parts[0]) / Number(parts[1] || 1);
    return value > 0 ? value : 8;
  }

  function Clip(root) {
    this.root = root;
    this.video = root.querySelector("video");
    this.slider = root.querySelector(".frame-slider");
    this.marks = root.querySelector(".marks");
    this.now = root.querySelector(".frame-now");
    this.play = root.querySelector('[data-do="play"]');
    this.setShape(Number(root.dataset.frames) || 1, root.dataset.fps, Number(root.dataset.width), Number(root.dataset.height));
    this.segments = JSON.parse(root.dataset.segments || "[]");
    this.boxes = JSON.parse(root.dataset.boxes || "[]");
    this.listen();
    this.draw();
    if (Number(root.dataset.flashes)) { this.cover(Number(root.dataset.flashes)); }
    // A report opens where its reporter saw something.
    var marked = this.boxes.length ? this.boxes[0].frame : this.segments.length ? this.segments[0].first : 0;
    if (marked > 0) {
      if (this.video.readyState > 0) { this.seek(marked); }
      else { this.video.addEventListener("loadedmetadata", this.seek.bind(this, marked), { once: true }); }
    }
  }

  Clip.prototype.cover = function (flashes) {
    var clip = this, speed = this.root.querySelector('[data-do="speed"]');
    var controls = this.root.querySelectorAll("[data-do], .frame-slider");
    function enable(ready) { controls.forEach(function (control) { control.disabled = !ready; }); }
    this.video.pause();
    enable(false);
    cover(this.root.querySelector(".stage"), flashes, function (chosen) {
      enable(true);
      speed.value = chosen;
      setSpeed(clip.video, chosen);
      clip.play.focus();
    });
  };

  Clip.prototype.setShape = function (frames, fps, width, height) {
    this.frames = Math.max(1, frames);
    this.fps = rate(fps);
    this.slider.max = this.frames - 1;
    if (!width || !height) { return; }
    this.root.querySelector(".stage").style.aspectRatio = width + " / " + height;
    this.root.style.maxWidth = "calc(64vh * " + width / height + ")";  // picture and controls fit the window
  };

  Clip.prototype.frame = function () {
    return Math.min(this.frames - 1, Math.max(0, Math.floor(this.video.currentTime * this.fps + 0.25)));
  };

  // The middle of a frame: a seek to its edge may land on either side.
  Clip.prototype.seek = function (frame) {
    var wanted = Math.min(this.frames - 1, Math.max(0, frame));
    this.video.currentTime = (wanted + 0.5) / this.fps;
    this.show(wanted);
  };

  Clip.prototype.show = function (frame) {
    this.slider.value = frame;
    this.now.textContent = "frame " + frame + (this.frames > 1 ? " of 0 to " + (this.frames - 1) : "");
    this.root.querySelector(".head").style.left = (frame + 0.5) / this.frames * 100 + "%";
    this.drawBoxes(frame);
  };

  Clip.prototype.draw = function () {
    var spans = this.root.querySelector(".spans");
    spans.replaceChildren();
    this.segments.forEach(function (segment) {
      var bar = document.createElement("div");
      bar.style.left = segment.first / this.frames * 100 + "%";
      bar.style.width = (segment.last + 1 - segment.first) / this.frames * 100 + "%";
      spans.append(bar);
    }, this);
    this.show(Number(this.slider.value));
  };

  Clip.prototype.drawBoxes = function (frame) {
    this.marks.replaceChildren();
    this.boxes.forEach(function (box) {
      var rect = document.createElementNS(SVG, "rect");
      rect.setAttribute("x", box.x * 100);
      rect.setAttribute("y", box.y * 100);
      rect.setAttribute("width", box.w * 100);
      rect.setAttribute("height", box.h * 100);
      if (box.frame !== frame) { rect.setAttribute("class", "away"); }
      this.marks.append(rect);
    }, this);
  };

  Clip.prototype.listen = function () {
    var clip = this, video = this.video;
    function follow() {
      if (video.paused) { return; }
      clip.show(clip.frame());
      requestAnimationFrame(follow);
    }
    video.addEventListener("play", function () {
      clip.play.textContent = "Pause";
      clip.play.setAttribute("aria-pressed", "true");
      follow();
    });
    video.addEventListener("pause", function () {
      clip.play.textContent = "Play";
      clip.play.setAttribute("aria-pressed", "false");
      clip.show(clip.frame());
    });
    this.slider.addEventListener("input", function () { video.pause(); clip.seek(Number(clip.slider.value)); });
    this.root.addEventListener("click", function (event) {
      var button = event.target.closest("button");
      if (!button) { return; }
      if (button.classList.contains("unblur")) { clip.root.classList.remove("blurred"); button.remove(); return; }
      var doing = button.dataset.do;
      if (doing === "play") { if (video.paused) { video.play(); } else { video.pause(); } }
      if (doing === "back" || doing === "forward") { video.pause(); clip.seek(Number(clip.slider.value) + (doing === "back" ? -1 : 1)); }
    });
    this.root.querySelector('[data-do="speed"]').addEventListener("change", function (event) {
      setSpeed(video, Number(event.target.value));
    });
    if (!("editable" in this.root.dataset)) { return; }
    this.listenForBox();
    this.listenForSpan();
  };

  function share(event, element) {
    var area = element.getBoundingClientRect();
    return {
      x: Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)),
      y: Math.min(1, Math.max(0, (event.clientY - area.top) / area.height)),
    };
  }

  Clip.prototype.tell = function (kind, detail) {
    this.root.dispatchEvent(new CustomEvent("evalkit:" + kind, { bubbles: true, detail: detail }));
  };

  Clip.prototype.listenForBox = function () {
    var clip = this, marks = this.marks, start = null;
    function box(event) {
      var end = share(event, marks);
      return {
        frame: Number(clip.slider.value),
        x: Math.min(start.x, end.x), y: Math.min(start.y, end.y),
        w: Math.abs(end.x - start.x), h: Math.abs(end.y - start.y),
      };
    }
    marks.addEventListener("pointerdown", function (event) {
      clip.video.pause();
      start = share(event, marks);
      marks.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    marks.addEventListener("pointermove", function (event) {
      if (start) { clip.boxes = [box(event)]; clip.drawBoxes(Number(clip.slider.value)); }
    });
    marks.addEventListener("pointerup", function (event) {
      var drawn = start && box(event);
      start = null;
      if (drawn && drawn.w > 0.01 && drawn.h > 0.01) { clip.boxes = [drawn]; clip.tell("box", drawn); }
      clip.draw();
    });
  };

  Clip.prototype.listenForSpan = function () {
    var clip = this, slider = this.slider, from = null;
    function at(event) {
      return Math.min(clip.frames - 1, Math.floor(share(event, slider).x * clip.frames));
    }
    // A click seeks; a drag marks what lies between.
    slider.addEventListener("pointerdown", function (event) {
      from = at(event);
      slider.setPointerCapture(event.pointerId);
      clip.video.pause();
      clip.seek(from);
      slider.focus();
      event.preventDefault();
    });
    slider.addEventListener("pointermove", function (event) {
      if (from === null) { return; }
      var here = at(event);
      clip.seek(here);
      if (here !== from) {
        clip.segments = [{ first: Math.min(from, here), last: Math.max(from, here) }];
        clip.draw();
      }
    });
    slider.addEventListener("pointerup", function (event) {
      var here = at(event);
      if (from !== null && here !== from) { clip.tell("span", clip.segments[0]); }
      from = null;
    });
  };

  document.querySelectorAll("[data-clip]").forEach(function (root) { root.clip = new Clip(root); });

  // A repetition that nobody asked for is motion, too.
  if (still.matches) { document.querySelectorAll("video").forEach(function (video) { video.loop = false; }); }

  // Thumbnails load and play when asked.
  document.querySelectorAll("[data-thumb]").forEach(function (thumb) {
    var video = thumb.querySelector("video"), button = thumb.querySelector(".play");
    if (!button) { return; }
    function show() { button.setAttribute("aria-pressed", String(!video.paused)); }
    ["play", "pause"].forEach(function (name) { video.addEventListener(name, show); });
    function play() {
      if (!video.src) { video.src = video.dataset.src; }
      video.play();
    }
    function start(flashes) {
      if (!flashes) { play(); return; }
      cover(thumb, flashes, function (speed) {
        delete thumb.dataset.flashes;
        setSpeed(video, speed);
        play();
        button.focus();
      });
      thumb.querySelector(".flash-cover button").focus();
    }
    button.addEventListener("click", function () {
      if (!video.paused) { video.pause(); return; }
      if (!thumb.dataset.ask) { start(Number(thumb.dataset.flashes)); return; }
      // Nobody has measured this clip yet; it plays when the server has.
      fetch(thumb.dataset.ask, { headers: { Accept: "application/json" } }).then(function (answer) {
        if (!answer.ok) { throw new Error("not measured"); }
        return answer.json();
      }).then(function (data) {
        delete thumb.dataset.ask;
        if (data.flashes) { thumb.dataset.flashes = data.flashes; }
        start(data.flashes);
      }).catch(function () { button.title = "This clip cannot be checked for flashes now; try again."; });
    });
  });

  // Two clips start and stop together; one that flashes covers both, so that neither side is told from the other.
  document.querySelectorAll("[data-versus]").forEach(function (pair) {
    var thumbs = Array.from(pair.querySelectorAll("[data-thumb]"));
    var videos = Array.from(pair.querySelectorAll("video"));
    var button = document.querySelector("[data-play-both]");
    var most = Math.max.apply(null, thumbs.map(function (thumb) { return Number(thumb.dataset.flashes) || 0; }));
    if (most) {
      button.disabled = true;
      thumbs.forEach(function (thumb) {
        cover(thumb, most, function (speed) {
          thumbs.forEach(function (other) {
            var left = other.querySelector(".flash-cover");
            if (left) { left.remove(); }
          });
          videos.forEach(function (video) { setSpeed(video, speed); });
          button.disabled = false;
          button.focus();
        });
      });
    }
    button.addEventListener("click", function () {
      var playing = videos.some(function (video) { return !video.paused; });
      videos.forEach(function (video) {
        if (playing) { video.pause(); } else { video.currentTime = 0; video.play(); }
      });
      button.textContent = playing ? "Play both" : "Pause both";
      button.setAttribute("aria-pressed", String(!playing));
    });
  });
})();
