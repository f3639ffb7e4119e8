// Points as round discs that lie on their surface, with WebGL 2.

const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 corner;
layout(location = 1) in vec3 place;
layout(location = 2) in vec3 right;
layout(location = 3) in vec3 down;
layout(location = 4) in uvec2 pixel;
layout(location = 5) in float unit;
layout(location = 6) in vec3 before;
layout(location = 7) in vec3 after;
uniform highp sampler2D photograph;
uniform mat3 cameraFromWorld;
uniform vec3 eye;
uniform vec4 lens;  // Scale and offset of x and y.
uniform vec2 range;  // Near and far, metres.
uniform vec2 screen;  // Pixels.
uniform float between, size;
out vec2 inDisc;
flat out vec3 colour;
flat out float behind;

vec4 projected(vec3 p) {
  float depth = (p.z * (range.y + range.x) - 2.0 * range.x * range.y)
      / (range.y - range.x);
  return vec4(p.x * lens.x + p.z * lens.z, -p.y * lens.y - p.z * lens.w,
      depth, p.z);
}

void main() {
  vec3 moved = place + unit * mix(before, after, between);
  vec3 centre = cameraFromWorld * (moved - eye);
  vec3 edge = cameraFromWorld * (corner.x * right + corner.y * down) * size;
  vec4 middle = projected(centre);
  vec4 end = projected(centre + edge);
  // A disc is never thinner than a pixel, so that far surfaces stay closed.
  vec2 reach = 0.5 * screen * (end.xy / end.w - middle.xy / middle.w);
  float grow = max(1.0, 0.75 / max(length(reach), 1e-6));
  if (grow > 1.0 && centre.z > range.x) {
    end = vec4((middle.xy / middle.w + 2.0 * grow * reach / screen) * middle.w,
        middle.zw);
  }
  gl_Position = end;
  if (centre.z + edge.z < range.x) gl_Position = vec4(0, 0, 2, 1);
  inDisc = corner;
  // The middle of a disc lies in front of its neighbours' rims: each point
  // owns what is nearest to it.
  vec4 back = projected(centre * (1.0 + length(right) / max(centre.z, 1e-6)));
  behind = 0.5 * max(back.z / back.w - middle.z / middle.w, 0.0);
  colour = texelFetch(photograph, ivec2(pixel), 0).rgb;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 inDisc;
flat in vec3 colour;
flat in float behind;
out vec4 shown;

void main() {
  float radius = dot(inDisc, inDisc);
  if (radius > 1.0) discard;
  gl_FragDepth = gl_FragCoord.z + behind * radius;
  shown = vec4(colour, 1.0);
}`;

// A round point reaches the corners of its cell and a little beyond.
const REACH = 1.6;

class Drawing {
  constructor(canvas, scene, photograph) {
    const gl = canvas.getContext("webgl2", {antialias: true});
    if (!gl) throw new Error("this browser shows no WebGL 2");
    this.gl = gl;
    this.scene = scene;
    this.program = program(gl);
    this.uniforms = Object.fromEntries(["photograph", "cameraFromWorld", "eye",
      "lens", "range", "screen", "between", "size"].map(
      name => [name, gl.getUniformLocation(this.program, name)]));
    const rest = layout.still, all = layout.points;
    this.parts = [[0, rest], [rest, all]]
      .filter(([from, to]) => to > from).map(part => this.part(...part));
    texture(gl, photograph);
    gl.enable(gl.DEPTH_TEST);
  }

  /** Points `from` to `to`, which all stand still or all move. */
  part(from, to) {
    const {gl, scene} = this, count = to - from;
    const vertices = gl.createVertexArray();
    gl.bindVertexArray(vertices);
    buffer(gl, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]));
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    const each = (at, size, type, stride, offset) => {
      gl.enableVertexAttribArray(at);
      gl.vertexAttribDivisor(at, 1);
      if (type === gl.UNSIGNED_SHORT) {
        gl.vertexAttribIPointer(at, size, type, stride, offset);
      } else {
        gl.vertexAttribPointer(at, size, type, false, stride, offset);
      }
    };
    buffer(gl, scene.place.subarray(3 * from, 3 * to));
    each(1, 3, gl.FLOAT, 12, 0);
    buffer(gl, scene.axes.subarray(6 * from, 6 * to));
    each(2, 3, gl.FLOAT, 24, 0);
    each(3, 3, gl.FLOAT, 24, 12);
    buffer(gl, scene.pixel.subarray(2 * from, 2 * to));
    each(4, 2, gl.UNSIGNED_SHORT, 4, 0);
    buffer(gl, scene.unit.subarray(from, to));
    each(5, 1, gl.FLOAT, 4, 0);
    if (from < layout.still) return {vertices, count, frame: () => {}};
    const steps = buffer(gl, scene.steps);
    const frame = t => {
      const next = Math.min(t + 1, layout.frames - 1);
      gl.bindBuffer(gl.ARRAY_BUFFER, steps);
      each(6, 3, gl.SHORT, 8, 8 * count * t);
      each(7, 3, gl.SHORT, 8, 8 * count * next);
    };
    return {vertices, count, frame};
  }

  /** Draws a moment, a number of frames, as a camera sees it. */
  draw(moment, camera, size) {
    const {gl, uniforms} = this, {width, height} = gl.canvas;
    const first = Math.floor(moment);
    const {matrix, eye, lens, near, far} = camera.view(width, height);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(this.program);
    gl.uniform1i(uniforms.photograph, 0);
    gl.uniformMatrix3fv(uniforms.cameraFromWorld, false, matrix);
    gl.uniform3fv(uniforms.eye, eye);
    gl.uniform4fv(uniforms.lens, lens);
    gl.uniform2f(uniforms.range, near, far);
    gl.uniform2f(uniforms.screen, width, height);
    gl.uniform1f(uniforms.between, moment - first);
    gl.uniform1f(uniforms.size, REACH * size);
    for (const part of this.parts) {
      gl.bindVertexArray(part.vertices);
      part.frame(first);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, part.count);
    }
  }
}

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) {
    throw new Error("the graphics driver refuses the shaders: "
      + gl.getProgramInfoLog(made));
  }
  return made;
}

function buffer(gl, values) {
  const made = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, made);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  return made;
}

/** The photograph's pixels unchanged: it holds the points' colours. */
function texture(gl, photograph) {
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE,
    photograph);
  for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
    gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
  }
}
