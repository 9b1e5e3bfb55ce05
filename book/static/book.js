// What scrolls sideways on a narrow screen must be reachable by keyboard, too; and the theme's
// search buttons have a label that leaves out what is written on them.
addEventListener("load", () => {
  const reach = () => {
    for (const box of document.querySelectorAll("mjx-container, .pst-scrollable-table-container, pre")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  window.MathJax?.startup?.promise?.then(reach);
  addEventListener("resize", reach);
  reach();
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});
