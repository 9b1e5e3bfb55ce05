// What scrolls sideways on a narrow screen must be reachable by keyboard, too; and the theme's
// search buttons have a label that leaves out what is written on them.
addEventListener("load", () => {
  const boxes = "mjx-container, .pst-scrollable-table-container, pre";
  const reach = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  const sizes = new ResizeObserver(reach); // a window's new width reaches a box some time later
  const watch = () => document.querySelectorAll(boxes).forEach((box) => sizes.observe(box));
  window.MathJax?.startup?.promise?.then(watch);
  watch();
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});
