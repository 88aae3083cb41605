"use strict";
// Plots, the theme, and the choice of arms. Figures come without colours of their own: they name
// CSS variables, which are resolved here whenever the theme changes.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  /** A CSS variable as rgb(…); `var(--x-band)` is `--x`, mostly transparent. */
  function colour(variable) {
    const band = variable.endsWith("-band)");
    probe.style.color = band ? variable.replace("-band)", ")") : variable;
    const solid = getComputedStyle(probe).color;
    return band ? solid.replace("rgb(", "rgba(").replace(")", ", 0.18)") : solid;
  }

  function resolve(value) {
    if (typeof value === "string") return value.startsWith("var(--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(resolve);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner)]));
  }

  function template() {
    const axis = {
      gridcolor: "var(--grid)", zerolinecolor: "var(--line)", linecolor: "var(--line)",
      automargin: true, title: { standoff: 8, font: { size: 13 } },
    };
    return resolve({
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: "var(--ink)", size: 13, family: getComputedStyle(document.body).fontFamily },
        legend: { bgcolor: "rgba(0,0,0,0)", font: { size: 12 } },
        hoverlabel: {
          bgcolor: "var(--raised)", bordercolor: "var(--line)", font: { color: "var(--ink)" },
        },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--muted)", activecolor: "var(--ink)" },
        xaxis: axis, yaxis: axis,
      },
    });
  }

  function draw(element) {
    const figure = figures[element.id];
    const layout = { ...resolve(figure.layout), template: template() };
    const settings = {
      responsive: true, displaylogo: false,
      // Without a pointer that hovers, plotly would show its buttons over the plots for good.
      displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    Plotly.react(element, resolve(figure.data), layout, settings);
  }

  function drawAll() {
    for (const element of document.querySelectorAll(".panels:not([hidden]) .plot")) draw(element);
  }

  const button = document.getElementById("theme");
  function applyTheme() {
    button.textContent = isDark() ? "Light" : "Dark";
    drawAll();
  }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    applyTheme();
  });
  dark.addEventListener("change", applyTheme);

  for (const choice of document.querySelectorAll(".choices button")) {
    choice.addEventListener("click", () => {
      const { section, view } = choice.dataset;
      for (const other of choice.parentElement.children) {
        const chosen = other === choice;
        other.setAttribute("aria-pressed", String(chosen));
        document.getElementById(`view-${section}-${other.dataset.view}`).hidden = !chosen;
      }
      for (const plot of document.querySelectorAll(`#view-${section}-${view} .plot`)) draw(plot);
    });
  }

  applyTheme();
})();
