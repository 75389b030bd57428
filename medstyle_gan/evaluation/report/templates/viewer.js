"use strict";
(() => {
  const section = document.getElementById("viewer");
  if (!section) return;
  const files = JSON.parse(document.getElementById("volumes").textContent);
  const [start, subject, image, said] = ["start", "subject", "image", "said"]
    .map((name) => document.getElementById("viewer-" + name));
  const canvas = document.getElementById("viewer-canvas");
  const mark = document.getElementById("viewer-mark");
  let viewer = null;
  const show = async () => {
    const base64 = files[Number(subject.value)][image.value];
    if (!base64) { said.textContent = "there is none"; return; }
    if (mark && image.value === "translation") mark.hidden = false;
    while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    await viewer.loadFromArrayBuffer(bytes.buffer, "volume.nii.gz");
    viewer.drawScene();
    if (mark) mark.hidden = image.value !== "translation";
    said.textContent = `${subject.selectedOptions[0].text}, ${image.selectedOptions[0].text}`;
  };
  const begin = async () => {
    start.disabled = true;
    try {
      canvas.parentElement.hidden = false;
      viewer = new niivue.Niivue({ dragAndDropEnabled: false, logLevel: "error", crosshairWidth: 0.5 });
      await viewer.attachToCanvas(canvas);
      viewer.setSliceType(viewer.sliceTypeMultiplanar);
      section.viewer = viewer;
      for (const choice of [subject, image]) { choice.disabled = false; choice.onchange = show; }
      await show();
    } catch (error) {
      canvas.parentElement.hidden = true;
      said.textContent = `cannot be drawn here (${error.message}); it needs WebGL 2`;
    }
  };
  start.addEventListener("click", begin);
})();
