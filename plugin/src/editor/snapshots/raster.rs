//! Draws what egui tessellates, on the CPU.
//!
//! The renderer that comes with egui_kittest needs a GPU or an emulation of one, and two hundred more crates. What egui
//! asks for is little: triangles with colours and a texture, blended in gamma space, already feathered.

use std::collections::HashMap;

use egui::{
    Color32, FullOutput, ImageData, Pos2, Rect, TextureFilter, TextureId, TexturesDelta,
    epaint::{ImageDelta, Mesh, Primitive, Vertex},
    pos2,
};
use egui_kittest::TestRenderer;
use image::{Rgba, RgbaImage};

struct Texture {
    size: [usize; 2],
    pixels: Vec<Color32>,
    is_linear: bool,
}

impl Texture {
    fn texel(&self, x: isize, y: isize) -> [f32; 4] {
        let [width, height] = self.size;
        let x = x.clamp(0, width as isize - 1) as usize;
        let y = y.clamp(0, height as isize - 1) as usize;
        self.pixels[y * width + x].to_array().map(f32::from)
    }

    /// The colour at `uv` in 0..=1.
    fn sample(&self, uv: Pos2) -> [f32; 4] {
        let (x, y) = (uv.x * self.size[0] as f32, uv.y * self.size[1] as f32);
        if !self.is_linear {
            return self.texel(x.floor() as isize, y.floor() as isize);
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let at = |dx: isize, dy: isize| self.texel(left as isize + dx, top as isize + dy);
        let mix = |a: [f32; 4], b: [f32; 4], t: f32| std::array::from_fn(|c| a[c] + (b[c] - a[c]) * t);
        mix(mix(at(0, 0), at(1, 0), x - left), mix(at(0, 1), at(1, 1), x - left), y - top)
    }
}

/// See the [module](self).
#[derive(Default)]
pub struct Rasteriser {
    textures: HashMap<TextureId, Texture>,
}

impl Rasteriser {
    fn update(&mut self, id: TextureId, delta: &ImageDelta) {
        let ImageData::Color(image) = &delta.image;
        let is_linear = delta.options.magnification == TextureFilter::Linear;
        let Some([left, top]) = delta.pos else {
            let texture = Texture { size: image.size, pixels: image.pixels.clone(), is_linear };
            self.textures.insert(id, texture);
            return;
        };
        let texture = self.textures.get_mut(&id).unwrap();
        let [width, height] = image.size;
        for y in 0..height {
            let start = (top + y) * texture.size[0] + left;
            texture.pixels[start..start + width].copy_from_slice(&image.pixels[y * width..(y + 1) * width]);
        }
    }

    fn mesh(&self, picture: &mut RgbaImage, mesh: &Mesh, clip: Rect, scale: f32) {
        let texture = &self.textures[&mesh.texture_id];
        for triangle in mesh.indices.chunks_exact(3) {
            let corners: [&Vertex; 3] = std::array::from_fn(|i| &mesh.vertices[triangle[i] as usize]);
            fill(picture, corners, clip, scale, texture);
        }
    }
}

/// Twice the signed area of a triangle.
fn area(a: Pos2, b: Pos2, c: Pos2) -> f32 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// Fills a triangle; a pixel whose middle lies on an edge belongs to the triangle for which that is a left or an upper one.
fn fill(picture: &mut RgbaImage, mut corners: [&Vertex; 3], clip: Rect, scale: f32, texture: &Texture) {
    let place = |vertex: &Vertex| pos2(vertex.pos.x * scale, vertex.pos.y * scale);
    let mut points = corners.map(place);
    let mut whole = area(points[0], points[1], points[2]);
    if whole < 0.0 {
        corners.swap(1, 2);
        points.swap(1, 2);
        whole = -whole;
    }
    if whole == 0.0 {
        return;
    }
    let bounds = Rect::from_points(&points).intersect(clip);
    let [left, right] = [bounds.left(), bounds.right()].map(|x| (x - 0.5).ceil().max(0.0) as u32);
    let [top, bottom] = [bounds.top(), bounds.bottom()].map(|y| (y - 0.5).ceil().max(0.0) as u32);
    let is_inside = |from: Pos2, to: Pos2, weight: f32| {
        weight > 0.0 || (weight == 0.0 && (to.y < from.y || (to.y == from.y && to.x > from.x)))
    };
    for y in top..bottom.min(picture.height()) {
        for x in left..right.min(picture.width()) {
            let at = pos2(x as f32 + 0.5, y as f32 + 0.5);
            let [a, b, c] = points;
            let weights = [area(b, c, at), area(c, a, at), area(a, b, at)];
            let edges = [(b, c), (c, a), (a, b)];
            if !edges.iter().zip(weights).all(|((from, to), weight)| is_inside(*from, *to, weight)) {
                continue;
            }
            let weights = weights.map(|weight| weight / whole);
            let mixed = |value: &dyn Fn(&Vertex) -> f32| {
                corners.iter().zip(weights).map(|(corner, weight)| value(corner) * weight).sum::<f32>()
            };
            let texel = texture.sample(pos2(mixed(&|v| v.uv.x), mixed(&|v| v.uv.y)));
            let source: [f32; 4] =
                std::array::from_fn(|c| mixed(&|v| f32::from(v.color.to_array()[c])) * texel[c] / 255.0);
            let Rgba(below) = *picture.get_pixel(x, y);
            let left = 1.0 - source[3] / 255.0;
            let blended =
                std::array::from_fn(|c| (source[c] + f32::from(below[c]) * left).round().min(255.0) as u8);
            picture.put_pixel(x, y, Rgba(blended));
        }
    }
}

impl TestRenderer for Rasteriser {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        for (id, images) in delta.set.drain() {
            images.iter().for_each(|image| self.update(id, image));
        }
        for id in delta.free.drain() {
            self.textures.remove(&id);
        }
    }

    fn render(&mut self, context: &egui::Context, output: &FullOutput) -> Result<RgbaImage, String> {
        let scale = context.pixels_per_point();
        let size = context.content_rect().size() * scale;
        let mut picture =
            RgbaImage::from_pixel(size.x.round() as u32, size.y.round() as u32, Rgba([0, 0, 0, 255]));
        for clipped in context.tessellate(output.shapes.clone(), scale) {
            let Primitive::Mesh(mesh) = &clipped.primitive else {
                return Err("paint callbacks are not drawn".to_owned());
            };
            let clip = clipped.clip_rect;
            let clip = Rect::from_min_max(
                pos2((clip.left() * scale).round(), (clip.top() * scale).round()),
                pos2((clip.right() * scale).round(), (clip.bottom() * scale).round()),
            );
            self.mesh(&mut picture, mesh, clip, scale);
        }
        Ok(picture)
    }
}
