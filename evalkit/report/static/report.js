"use strict";

// Clips play only when asked for, one at a time; a flashing clip asks twice and starts slowed.
(function () {
  var playing = null;

  function stop() {
    if (!playing) { return; }
    playing.video.pause();
    playing.video.removeAttribute("src");
    playing.video.load();
    playing.video.remove();
    playing.box.classList.remove("playing");
    playing = null;
  }

  function play(box, rate) {
    stop();
    var video = document.createElement("video");
    video.src = box.dataset.player;
    video.controls = true;
    video.loop = true;
    video.muted = true;
    video.playsInline = true;
    video.defaultPlaybackRate = rate;
    video.playbackRate = rate;
    box.append(video);
    box.classList.add("playing");
    playing = { box: box, video: video };
    video.play().catch(function () { /* the browser's own controls remain */ });
    video.focus();
  }

  function offer(box) {
    if (!box.dataset.flashes || box.querySelector(".flash-choice")) { return; }
    var choice = document.createElement("div");
    choice.className = "flash-choice";
    [["Play at quarter speed", 0.25], ["Play at full speed", 1]].forEach(function (option) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = option[0];
      button.addEventListener("click", function () { choice.remove(); play(box, option[1]); });
      choice.append(button);
    });
    box.append(choice);
    choice.firstChild.focus();
  }

  document.querySelectorAll("[data-player]").forEach(function (box) {
    box.querySelector(".play").addEventListener("click", function () {
      if (box.dataset.flashes) { offer(box); } else { play(box, 1); }
    });
  });
})();
