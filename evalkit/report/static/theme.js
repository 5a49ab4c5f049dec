"use strict";

// Light, dark, or as the system says. Remembered where the browser allows it.
(function () {
  var root = document.documentElement;
  var key = "evalkit-theme";
  function stored() {
    try { return localStorage.getItem(key); } catch (error) { return null; }
  }
  function apply(theme) {
    if (theme === "light" || theme === "dark") { root.dataset.theme = theme; }
  }
  apply(stored());
  document.querySelectorAll("[data-theme-button]").forEach(function (button) {
    button.addEventListener("click", function () {
      var systemDark = matchMedia("(prefers-color-scheme: dark)").matches;
      var dark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark;
      var theme = dark ? "light" : "dark";
      apply(theme);
      try { localStorage.setItem(key, theme); } catch (error) { /* private window: the choice lasts for this page */ }
    });
  });
})();
