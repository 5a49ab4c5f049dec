"use strict";

// Cards can be dragged to a column that their status allows; the table does the same by keyboard.
(function () {
  var board = document.querySelector(".board"), form = document.getElementById("move");
  if (!board || !form) { return; }
  var dragged = null;
  function allowed(column) {
    return dragged && dragged.dataset.next.split(" ").includes(column.dataset.status);
  }
  board.addEventListener("dragstart", function (event) {
    dragged = event.target.closest("[data-report]");
    if (dragged) { dragged.classList.add("dragged"); event.dataTransfer.effectAllowed = "move"; }
  });
  board.addEventListener("dragend", function () {
    if (dragged) { dragged.classList.remove("dragged"); }
    dragged = null;
    board.querySelectorAll(".target").forEach(function (column) { column.classList.remove("target"); });
  });
  board.querySelectorAll(".column").forEach(function (column) {
    column.addEventListener("dragover", function (event) {
      if (allowed(column)) { event.preventDefault(); column.classList.add("target"); }
    });
    column.addEventListener("dragleave", function () { column.classList.remove("target"); });
    column.addEventListener("drop", function (event) {
      if (!allowed(column)) { return; }
      event.preventDefault();
      form.action = board.dataset.move + dragged.dataset.report + "/triage";
      form.elements.status.value = column.dataset.status;
      form.submit();
    });
  });
})();
