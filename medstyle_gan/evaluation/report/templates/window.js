"use strict";
(() => {
  const form = document.getElementById("window-control");
  if (!form) return;
  const level = document.getElementById("level");
  const width = document.getElementById("width");
  const shown = document.getElementById("window-shown");
  const parts = ["r", "g", "b"].map((c) => document.getElementById("window-" + c));
  const apply = () => {
    // Pixels hold [-1, 1] as [0, 1]; level ± width/2 become black and white.
    const slope = 2 / Number(width.value);
    const low = (Number(level.value) - Number(width.value) / 2 + 1) / 2;
    for (const part of parts) {
      part.setAttribute("slope", String(slope));
      part.setAttribute("intercept", String(-low * slope));
    }
    shown.textContent = `level ${Number(level.value)}, width ${Number(width.value)}`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply, 0));
  // Everything is to be seen on paper.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
  apply();
})();
