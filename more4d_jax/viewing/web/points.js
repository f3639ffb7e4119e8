// The points of the scene, as page.py packs them.

const layout = JSON.parse(document.getElementById("more4d-layout").textContent);

/** The unpacked bytes of the points. */
async function unpacked() {
  const packed = atob(document.getElementById("more4d-points").textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const plain = new Blob([bytes])
    .stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

/** Reads one section of the bytes after the other. */
class Sections {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(count) {
    return this.bytes.subarray(this.at, this.at += count);
  }

  /** Numbers of the bits that are set, the highest of a byte first. */
  bits(count, set) {
    const bytes = this.take(Math.ceil(count / 8));
    const found = [];
    for (let i = 0; i < count; i++) {
      if ((bytes[i >> 3] >> (7 - (i & 7)) & 1) === set) found.push(i);
    }
    return Uint32Array.from(found);
  }

  /** Signed numbers, each kept as the change from the one before it. */
  changes(count) {
    const low = this.take(count), high = this.take(count);
    const values = new Int16Array(count);
    let value = 0;
    for (let i = 0; i < count; i++) {
      const code = low[i] | high[i] << 8;
      values[i] = value += code >> 1 ^ -(code & 1);
    }
    return values;
  }
}

/**
 * All that is drawn; points that stand still come first.
 *
 * place: x, y, z at frame 0 in metres, [P 3]. axes: half of the way to the
 * neighbour to the right and of that below, metres, [P 6]. pixel: column and
 * row of the photograph, [P 2]. unit: metres of one step, [P]. steps: of
 * frames times moving points, [T M 4], the fourth unused.
 */
async function readPoints() {
  const {width, height, frames, points, still} = layout;
  const sections = new Sections(await unpacked());
  const pixels = sections.bits(width * height, 1);
  const moves = sections.take(Math.ceil(points / 8));
  const order = new Uint32Array(points);
  for (let i = 0, rest = 0, moving = still; i < points; i++) {
    order[i] = moves[i >> 3] >> (7 - (i & 7)) & 1 ? moving++ : rest++;
  }
  const scene = placed(sections, pixels, order);
  const moving = points - still;
  scene.steps = new Int16Array(4 * moving * frames);
  for (let t = 1; t < frames; t++) {
    for (let axis = 0; axis < 3; axis++) {
      const change = sections.changes(moving);
      const at = 4 * moving * t + axis, before = at - 4 * moving;
      for (let i = 0; i < moving; i++) {
        scene.steps[at + 4 * i] = scene.steps[before + 4 * i] + change[i];
      }
    }
  }
  return scene;
}

function placed(sections, pixels, order) {
  const {points, width, intrinsics: [fx, fy, cx, cy], step} = layout;
  const growth = sections.take(points), shift = sections.take(points);
  const slopes = [sections.changes(points), sections.changes(points)];
  const depths = sections.changes(points);
  const offsets = [0, 1, 2].map(() => sections.changes(points));
  const scene = {
    place: new Float32Array(3 * points),
    axes: new Float32Array(6 * points),
    pixel: new Uint16Array(2 * points),
    unit: new Float32Array(points),
  };
  for (let i = 0; i < points; i++) {
    const to = order[i];
    const column = pixels[i] % width, row = (pixels[i] - column) / width;
    // Of 16 bits, which were read as signed ones.
    const depth = Math.exp(
      layout.log_near + layout.log_step * (depths[i] & 0xffff));
    const ray = [(column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy, 1];
    const unit = depth * step * 2 ** shift[i];
    const size = depth * growth[i] / 32;
    for (let k = 0; k < 3; k++) {
      scene.place[3 * to + k] = depth * ray[k] + unit * offsets[k][i];
      for (let axis = 0; axis < 2; axis++) {
        const along = (k === axis) + slopes[axis][i] / 16 * ray[k];
        scene.axes[6 * to + 3 * axis + k] = size * along / (axis ? fy : fx);
      }
    }
    scene.pixel.set([column, row], 2 * to);
    scene.unit[to] = unit;
  }
  return scene;
}
