"use strict";

// The filing form: leaves of the chosen class, marks from the clip, uploads, and a draft that survives a reload.
(function () {
  var PREFIX = "evalkit-draft:";

  // After filing, the draft has served its purpose.
  var filed = document.querySelector("[data-filed]");
  if (filed) {
    try {
      Object.keys(localStorage).forEach(function (key) {
        if (key.startsWith(PREFIX) && JSON.parse(localStorage.getItem(key)).draft === filed.dataset.filed) {
          localStorage.removeItem(key);
        }
      });
    } catch (error) { /* private window: there was no draft */ }
  }

  var form = document.getElementById("filing");
  if (!form) { return; }
  var family = document.getElementById("family"), category = document.getElementById("category");
  var definition = document.getElementById("definition");
  var leaves = Array.from(category.options).filter(function (option) { return option.value; });
  var fields = form.elements;
  var key = PREFIX + form.dataset.draftKey;

  function changed() {
    form.dispatchEvent(new CustomEvent("evalkit:changed", { bubbles: false }));
    save();
  }

  function showLeaves() {
    var chosen = category.value;
    category.replaceChildren(category.options[0]);
    leaves.forEach(function (option) {
      if (!family.value || option.dataset.family === family.value) { category.append(option); }
    });
    category.value = leaves.some(function (option) { return option.value === chosen && option.parentNode; }) ? chosen : "";
    showDefinition();
  }

  function showDefinition() {
    var option = category.selectedOptions[0];
    if (!option || !option.value) {
      var first = family.value ? "Choose a failure of this class." : "Choose a class, then a failure: its definition and an example appear here.";
      definition.textContent = first;
    } else {
      definition.textContent = option.dataset.definition;
      var example = document.createElement("small");
      example.textContent = "For example: " + option.dataset.example;
      definition.append(example);
      family.value = option.dataset.family;
    }
    document.getElementById("restricted-note").hidden = !option || option.dataset.restricted !== "yes";
  }
  family.addEventListener("change", showLeaves);
  category.addEventListener("change", showDefinition);

  // Marks on the clip and the number fields say the same.
  var root = form.querySelector("[data-clip]");
  function number(name) {
    var text = fields[name].value;
    return text === "" ? null : Number(text);
  }
  function marksToClip() {
    var clip = root && root.clip;
    if (!clip) { return; }
    var first = number("first"), last = number("last");
    clip.segments = first === null ? [] : [{ first: first, last: last === null ? first : last }];
    var values = ["frame", "x", "y", "w", "h"].map(function (name) { return number("box_" + name); });
    clip.boxes = values.includes(null) ? [] : [{ frame: values[0], x: values[1] / 100, y: values[2] / 100, w: values[3] / 100, h: values[4] / 100 }];
    clip.draw();
  }
  form.addEventListener("evalkit:span", function (event) {
    fields.first.value = event.detail.first;
    fields.last.value = event.detail.last;
    changed();
  });
  form.addEventListener("evalkit:box", function (event) {
    fields.box_frame.value = event.detail.frame;
    ["x", "y", "w", "h"].forEach(function (name) { fields["box_" + name].value = (event.detail[name] * 100).toFixed(1); });
    changed();
  });
  form.querySelectorAll("[data-mark]").forEach(function (button) {
    button.addEventListener("click", function () {
      if (!root || !root.clip) { return; }
      fields[button.dataset.mark].value = root.clip.slider.value;
      marksToClip();
      changed();
    });
  });

  // Uploads: the body is the file itself.
  function send(address, file) {
    return fetch(address, {
      method: "POST",
      headers: { "X-CSRF-Token": fields.csrf.value, "X-File-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream", Accept: "application/json" },
      body: file,
    }).then(function (answer) {
      return answer.json().then(function (data) {
        if (!answer.ok) { throw new Error(data.detail || "the upload failed"); }
        return data;
      });
    });
  }
  function showUpload() {
    var slot = document.getElementById("player-slot");
    if (!slot || !fields.upload.value) { return; }
    var clip = JSON.parse(fields.upload.value), player = slot.querySelector("[data-clip]").clip;
    fetch(form.dataset.media + clip.preview + "/flashes", { headers: { Accept: "application/json" } })
      .then(function (answer) { return answer.json(); })
      .then(function (data) {
        if (data.flashes) { player.cover(data.flashes); }
        slot.hidden = false;
      });
    player.video.src = form.dataset.media + clip.preview;
    player.video.poster = form.dataset.media + clip.poster;
    player.setShape(clip.num_frames, clip.fps, clip.width, clip.height);
    marksToClip();
    ["num_frames", "width", "height", "fps"].forEach(function (name) {
      if (!fields[name].value) { fields[name].value = clip[name]; }
    });
  }
  var input = document.getElementById("clip-file");
  function takeClip(file) {
    var state = document.getElementById("upload-state");
    state.textContent = "Uploading and checking " + file.name + " …";
    send(form.dataset.uploads, file).then(function (clip) {
      state.textContent = file.name + ": " + clip.num_frames + " frames, " + clip.width + "×" + clip.height;
      fields.upload.value = JSON.stringify(clip);
      showUpload();
      changed();
    }).catch(function (error) { state.textContent = error.message; });
  }
  if (input) {
    input.addEventListener("change", function () { if (input.files[0]) { takeClip(input.files[0]); } });
    var drop = document.getElementById("drop");
    drop.addEventListener("dragover", function (event) { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", function () { drop.classList.remove("over"); });
    drop.addEventListener("drop", function (event) {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files[0]) { takeClip(event.dataTransfer.files[0]); }
    });
  }
  function addAttachment(digest, name) {
    var item = document.createElement("li"), hidden = document.createElement("input"), remove = document.createElement("button");
    hidden.type = "hidden";
    hidden.name = "attachment";
    hidden.value = digest;
    hidden.dataset.fileName = name;
    remove.type = "button";
    remove.className = "button slim plain";
    remove.textContent = "remove";
    remove.addEventListener("click", function () { item.remove(); save(); });
    item.append(name + " ", hidden, remove);
    document.getElementById("attachments").append(item);
  }
  document.getElementById("attachment-file").addEventListener("change", function (event) {
    var file = event.target.files[0];
    if (!file) { return; }
    send(form.dataset.attachments, file).then(function (data) {
      addAttachment(data.digest, file.name);
      event.target.value = "";
      save();
    }).catch(function (error) {
      var item = document.createElement("li");
      item.className = "bad";
      item.textContent = error.message;
      document.getElementById("attachments").append(item);
    });
  });

  // The draft.
  var SKIPPED = ["csrf", "run", "clip", ""];
  function save() {
    var draft = {}, attachments = [];
    Array.from(fields).forEach(function (field) {
      if (SKIPPED.includes(field.name) || field.type === "file" || field.type === "submit") { return; }
      if (field.name === "attachment") { attachments.push([field.value, field.dataset.fileName]); return; }
      if (field.type === "radio" && !field.checked) { return; }
      draft[field.name] = field.value;
    });
    draft.attachments = attachments;
    draft.family = family.value;
    try {
      localStorage.setItem(key, JSON.stringify(draft));
      document.getElementById("saved").textContent = "Draft kept in this browser.";
    } catch (error) { /* private window: no draft */ }
  }
  function restore() {
    var draft = null;
    try { draft = JSON.parse(localStorage.getItem(key)); } catch (error) { return; }
    if (!draft) { return; }
    family.value = draft.family || "";
    Object.keys(draft).forEach(function (name) {
      var field = fields[name];
      if (!field || name === "attachments" || name === "family" || SKIPPED.includes(name)) { return; }
      field.value = draft[name];  // a group of radio buttons takes the value, too
    });
    (draft.attachments || []).forEach(function (pair) { addAttachment(pair[0], pair[1]); });
    document.getElementById("restored").hidden = false;
  }
  document.getElementById("discard").addEventListener("click", function () {
    try { localStorage.removeItem(key); } catch (error) { /* nothing to discard */ }
    location.reload();
  });

  // What the server gave back after a mistake is newer than the draft.
  if (!document.querySelector(".problem")) { restore(); } else { document.querySelector(".problem").focus(); }
  showLeaves();
  marksToClip();
  showUpload();
  form.addEventListener("input", function (event) {
    if (/^(first|last|box_)/.test(event.target.name || "")) { marksToClip(); }
    save();
  });
  form.addEventListener("change", changed);
})();
