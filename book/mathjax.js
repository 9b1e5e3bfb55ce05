// The part for screen readers sets an option that only MathJax's menu knows, which is not loaded.
window.MathJax.startup = {
  ready() {
    delete MathJax.config.options.menuOptions;
    MathJax.startup.defaultReady();
  },
};
