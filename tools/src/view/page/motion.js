// The clip that plays: where in it we are, and the bar that shows and changes it.

const element = (id) => document.getElementById(id);

export class Motion {
  // `changed` is called when another moment is to be shown.
  constructor(scene, changed) {
    Object.assign(this, { clips: scene.clips, changed, time: 0, playing: false, loop: true, speed: 1, clip: null });
    if (this.clips.length === 0) return;
    element("transport").hidden = false;
    const choice = element("clip");
    choice.append(new Option("At rest", ""), ...this.clips.map((clip) => new Option(clip.name || "unnamed", clip.name)));
    choice.addEventListener("change", () => this.choose(choice.value));
    element("do-play").addEventListener("click", () => this.play(!this.playing));
    element("do-loop").addEventListener("click", () => this.repeat(!this.loop));
    element("speed").addEventListener("change", (event) => { this.speed = Number(event.target.value); });
    element("scrub").addEventListener("input", (event) => {
      this.play(false);
      this.seek(Number(event.target.value));
    });
    this.choose(scene.clip ?? "");
    if (scene.clip) this.play(true);
  }

  choose(name) {
    this.clip = this.clips.find((clip) => clip.name === name && name !== "") ?? null;
    element("clip").value = this.clip?.name ?? "";
    const seconds = this.clip?.seconds ?? 0;
    element("length").value = this.clip ? seconds.toFixed(2) : "";
    element("scrub").max = seconds || 1;
    element("scrub").disabled = !this.clip;
    if (!this.clip) this.play(false);
    this.seek(0);
  }

  play(playing) {
    // without a choice, playing means the first clip
    if (playing && !this.clip) this.choose(this.clips[0]?.name);
    this.playing = playing && Boolean(this.clip);
    if (this.playing && !this.loop && this.time >= this.clip.seconds) this.time = 0;
    element("do-play").querySelector("use").setAttribute("href", this.playing ? "#pause" : "#play");
    // who stops stays where he is: nothing is to be asked for, even when the server is gone
    if (this.playing) this.changed();
  }

  repeat(loop) {
    this.loop = loop;
    element("do-loop").setAttribute("aria-pressed", String(loop));
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.clip?.seconds ?? 0);
    this.show();
    this.changed();
  }

  // One frame of the clip on or back.
  frame(direction) {
    if (!this.clip) return;
    this.play(false);
    const rate = Math.min(this.clip.rate, 120);
    this.seek((Math.round(this.time * rate) + direction) / rate);
  }

  // Lets `seconds` pass; true while it plays.
  step(seconds) {
    if (!this.playing) return false;
    const length = this.clip.seconds;
    this.time += seconds * this.speed;
    if (this.time >= length) {
      if (this.loop && length > 0) this.time %= length;
      else {
        this.time = length;
        this.play(false);
        this.changed();
      }
    }
    this.show();
    return this.playing;
  }

  show() {
    const scrub = element("scrub");
    element("time").value = this.time.toFixed(2);
    scrub.value = this.time;
    scrub.style.setProperty("--to", `${(100 * this.time) / Number(scrub.max)}%`);
  }
}
