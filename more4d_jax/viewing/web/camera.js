// A camera that turns about a point; x right, y down, z forward.

const STEEPEST = 1.5;  // Radians, of the pitch.
const SWAY = [0.09, 0.045];  // Radians, of yaw and pitch.
const SWAY_SECONDS = 7;

class Camera {
  constructor(places) {
    this.pivotDepth = layout.centre[2];
    this.reset();
    // So far away that nothing is cut off from any side.
    let far = 0;
    for (const value of places) far = Math.max(far, Math.abs(value));
    this.extent = 4 * far;
  }

  /** The view of the photograph. */
  reset() {
    this.pivot = [0, 0, this.pivotDepth];
    this.distance = this.pivotDepth;
    this.yaw = this.pitch = 0;
    this.swayed = 0;
  }

  orbit(right, down) {
    this.yaw += right;
    this.pitch = Math.max(-STEEPEST, Math.min(STEEPEST, this.pitch + down));
  }

  /** Moves the scene by pixels of the canvas. */
  pan(right, down, width, height) {
    const scale = this.distance / focal(width, height);
    const {matrix} = this.view(width, height);
    for (let k = 0; k < 3; k++) {
      this.pivot[k] -= scale
        * (right * matrix[3 * k] + down * matrix[3 * k + 1]);
    }
  }

  zoom(factor) {
    this.distance = Math.max(0.02 * this.pivotDepth,
      Math.min(20 * this.pivotDepth, this.distance / factor));
  }

  /** What the shaders need; matrix by columns, camera_from_world. */
  view(width, height) {
    const phase = 2 * Math.PI * this.swayed / SWAY_SECONDS;
    const yaw = this.yaw + SWAY[0] * Math.sin(phase);
    const pitch = this.pitch + SWAY[1] * Math.sin(2 * phase);
    const [cy, sy] = [Math.cos(yaw), Math.sin(yaw)];
    const [cp, sp] = [Math.cos(pitch), Math.sin(pitch)];
    const right = [cy, 0, sy];
    const down = [sy * sp, cp, -cy * sp];
    const ahead = [-sy * cp, sp, cy * cp];
    const matrix = [0, 1, 2].flatMap(k => [right[k], down[k], ahead[k]]);
    const eye = ahead.map((a, k) => this.pivot[k] - this.distance * a);
    const scale = fit(width, height);
    const [fx, fy, cx, cyy] = layout.intrinsics.map(v => 2 * scale * v);
    const lens = [fx / width, fy / height, (cx - scale * layout.width) / width,
      (cyy - scale * layout.height) / height];
    const near = Math.min(0.02 * this.distance, 0.05 * layout.near);
    return {matrix, eye, lens, near, far: this.extent + 2 * this.distance};
  }
}

/** Pixels of the canvas for one of the photograph, with a margin around it. */
function fit(width, height) {
  return 0.94 * Math.min(width / layout.width, height / layout.height);
}

function focal(width, height) {
  return fit(width, height) * layout.intrinsics[0];
}
