// One head's answer in plain words, with the terms of the field behind them.

import { Part, classMap, html, nothing } from "../base/part.js";
import { UNLIKE, percent, sure } from "../base/words.js";

class Answer extends Part {
  static properties = { answer: { attribute: false }, name: { attribute: false } };

  render() {
    const { label, probability, top_k, labels, prediction_set, outlier_percentile } = this.answer;
    const shown = labels?.length ? labels : top_k;
    return html`
      <section class="answer" aria-label=${`Answer of ${this.name}`}>
        <h3>
          ${labels ? labels.map((each) => each.label).join(", ") || "none of its labels" : label}
          <span class="soft" title="Calibrated probability of this class">${labels ? nothing : `${sure(probability)}, ${percent(probability)}`}</span>
        </h3>
        <p class="soft">${this.name}</p>
        <ul class="bars">
          ${shown.map((each) => this.bar(each, each.label === label))}
        </ul>
        ${prediction_set ? this.set(prediction_set) : nothing} ${this.unusual(outlier_percentile)}
      </section>
    `;
  }

  bar({ label, probability }, best) {
    return html`<li class=${classMap({ best })}>
      <span>${label}</span><meter min="0" max="1" .value=${probability} aria-label=${label}></meter><span>${percent(probability)}</span>
    </li>`;
  }

  set({ labels, coverage }) {
    if (labels.length === 1) return nothing;
    const often = `${Math.round(coverage * 100)} times out of 100`;
    return html`<p title=${`Prediction set at coverage ${coverage}: it contains the true class ${often}.`}>
      ${labels.length ? `Could be: ${labels.join(", ")}` : "None of its classes fits well."}
    </p>`;
  }

  unusual(percentile) {
    if (percentile === null || percentile === undefined || percentile < UNLIKE) return nothing;
    const term = `Outlier percentile ${percentile.toFixed(1)}: so many of 100 photos of the kind it was trained on look more ordinary.`;
    return html`<p class="unusual" title=${term}>Looks unlike the training photos: do not trust this answer.</p>`;
  }
}

customElements.define("hw-answer", Answer);
