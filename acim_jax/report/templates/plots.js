"use strict";
// Plots, the theme, and the choice of arms. The page's colours come from its style sheet.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

  function template() {
    const { color: ink, fontFamily: family } = getComputedStyle(document.body);
    const { borderTopColor: line } = getComputedStyle(document.querySelector("section"));
    const clear = "rgba(0,0,0,0)";
    const axis = {
      gridcolor: line, zerolinecolor: line, automargin: true, title: { standoff: 8, font: { size: 13 } },
    };
    return {
      layout: {
        paper_bgcolor: clear, plot_bgcolor: clear, font: { color: ink, size: 13, family },
        legend: { bgcolor: clear, font: { size: 12 } }, modebar: { bgcolor: clear },
        hovermode: "closest", xaxis: axis, yaxis: axis,
      },
    };
  }

  function draw(plot) {
    const { data, layout } = figures[plot.id];
    const settings = {
      responsive: true, displaylogo: false,
      // Without a pointer that hovers, Plotly would show its buttons over the plots for good.
      displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    Plotly.react(plot, data, { ...layout, template: template() }, settings);
  }

  function drawAll() {
    button.textContent = isDark() ? "Light" : "Dark";
    document.querySelectorAll(".panels:not([hidden]) .plot").forEach(draw);
  }

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    drawAll();
  });
  system.addEventListener("change", drawAll);
  for (const choice of document.querySelectorAll(".choices button")) {
    choice.addEventListener("click", () => {
      for (const other of choice.parentElement.children) {
        const { section, view } = other.dataset;
        other.setAttribute("aria-pressed", String(other === choice));
        document.getElementById(`view-${section}-${view}`).hidden = other !== choice;
      }
      drawAll();
    });
  }
  drawAll();
})();
