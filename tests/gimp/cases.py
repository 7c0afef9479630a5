# Run by tests/gimp.rs in GIMP 3.x without a window: as cases.scm does in 2.10. What is right is known to gimp.rs alone.
import gi
gi.require_version('Gimp', '3.0')
gi.require_version('Gegl', '0.4')
from gi.repository import Gegl, Gimp, Gio, GLib

PDB = Gimp.get_pdb()
OURS = PDB.lookup_procedure('plug-in-ssmoesr')


def fact(name, *values):
    print(f'fact {name}=' + ' '.join(str(v) for v in values), flush=True)


def file(name):
    return Gio.File.new_for_path(f'{room}/{name}')


def load(name):
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file('in/' + name))


def top(image):
    return image.get_layers()[0]


def add(image, name):
    layer = Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, file('in/' + name))
    image.insert_layer(layer, None, 0)
    return layer


def save(layer, name):
    """The layer alone, as the export would otherwise merge what else is in its image."""
    image = layer.get_image()
    alone = Gimp.Image.new_with_precision(layer.get_width(), layer.get_height(), image.get_base_type(), image.get_precision())
    profile = image.get_color_profile()
    if profile:
        alone.set_color_profile(profile)
    copy = Gimp.Layer.new_from_drawable(layer, alone)
    alone.insert_layer(copy, None, 0)
    copy.set_offsets(0, 0)
    proc = PDB.lookup_procedure('file-png-export')
    c = proc.create_config()
    for key, value in {'image': alone, 'file': file(f'out/{name}.png'), 'format': 'auto'}.items():
        c.set_property(key, value)
    proc.run(c)


def call(image, drawables, **values):
    c = OURS.create_config()
    c.set_property('image', image)
    c.set_core_object_array('drawables', drawables)
    for key, value in values.items():
        c.set_property(key, value)
    return OURS.run(c)


def enlarge(image, layer, scope='layer', output='new-image'):
    result = call(image, [layer], scope=scope, output=output)
    if result.index(0) != Gimp.PDBStatusType.SUCCESS:
        raise RuntimeError(PDB.get_last_error())
    return result.index(1)


def refused(name, image, drawables, **values):
    before = image.get_width(), len(image.get_layers())
    done = call(image, drawables, **values).index(0) == Gimp.PDBStatusType.SUCCESS
    print(PDB.get_last_error(), flush=True)
    same = before == (image.get_width(), len(image.get_layers()))
    fact('refused-' + name, 'no' if done else 'yes', 'same' if same else 'changed')


def place(item):
    _, x, y = item.get_offsets()
    return x, y, item.get_width(), item.get_height()


fact('version', Gimp.version())

for name in ['rgb8', 'rgba8', 'gray8', 'graya8', 'rgb16', 'gray16', 'icc']:
    image = load(name + '.png')
    r = enlarge(image, top(image))
    fact('precision-' + name, int(image.get_precision()), int(r.get_precision()))
    fact('base-' + name, int(image.get_base_type()), int(r.get_base_type()))
    save(top(r), name)

image = load('icc.png')
image.set_resolution(123, 45)
# A file that is opened by a script is not the image's own in 3.x.
image.set_file(Gio.File.new_for_path(f'{room}/in/icc.xcf'))
image.add_hguide(5)
image.attach_parasite(Gimp.Parasite.new('gimp-comment', 1, b'a comment'))
r = enlarge(image, top(image))
fact('resolution', *r.get_resolution()[1:])
fact('profile', 'same' if image.get_color_profile().is_equal(r.get_color_profile()) else 'other')
fact('guide', r.get_guide_position(r.find_next_guide(0)))
fact('comment', bytes(r.get_parasite('gimp-comment').get_data()).decode())
fact('name', r.get_file().get_path())
fact('layer-name', top(r).get_name())

for precision in [200, 275, 350, 550, 600, 650, 675, 700]:
    image = load('rgb16.png')
    image.convert_precision(Gimp.Precision(precision))
    r = enlarge(image, top(image))
    fact(f'kept-{precision}', int(r.get_precision()))
    for what, name in (r, 'precision'), (image, 'source'):
        what.convert_precision(Gimp.Precision(250))
        save(top(what), f'{name}-{precision}')

# A wide space in linear light and floating point, and back to what the command can read; and with the curve of sRGB.
for name, source, precision in ('icc', 'icc', 600), ('icc16', 'icc16', 600), ('perceptual', 'icc16', 675):
    image = load(source + '.png')
    profile = image.get_color_profile()
    image.convert_precision(Gimp.Precision(precision))
    fact(f'{name}-linear-profile', 'same' if image.get_color_profile().is_equal(profile) else 'other')
    r = enlarge(image, top(image))
    for what, kind in (r, 'float'), (image, 'float-source'):
        what.convert_precision(Gimp.Precision(250))
        fact(f'{name}-{kind}-profile', 'same' if what.get_color_profile().is_equal(profile) else 'other')
        save(top(what), f'{name}-{kind}')

image = load('rgb8.png')
image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 8, False, False, '')
refused('indexed', image, [top(image)], output='this-image')
r = enlarge(image, top(image))
fact('base-indexed', int(r.get_base_type()))
save(top(r), 'indexed')
image.convert_rgb()
save(top(image), 'indexed-source')

image = load('wide.png')
a = top(image)
a.set_offsets(7, -3)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 107, 17, 30, 20)
save(top(enlarge(image, a, 'selection')), 'part')
r = enlarge(image, a, 'selection', 'new-layer')
fact('part-layer', r.get_id(), image.get_id() - r.get_id())
fact('part-place', *place(top(image)))
fact('part-grown', *place(a))
fact('part-canvas', image.get_width(), image.get_height())

image = load('rgb8.png')
under = top(image)
over = add(image, 'rgba8.png')
over.set_offsets(3, 2)
mask = over.create_mask(Gimp.AddMaskType.WHITE)
over.add_mask(mask)
refused('mask', image, [mask])
enlarge(image, over, 'layer', 'this-image')
fact('place-layers', len(image.get_layers()))
fact('place-over', *place(over))
fact('place-under', *place(under))
fact('place-mask', *place(over.get_mask()))
over.remove_mask(Gimp.MaskApplyMode.DISCARD)
save(over, 'in-place')

image = load('wide.png')
twin = image.duplicate()
Gimp.context_set_interpolation(Gimp.InterpolationType.CUBIC)
Gimp.context_set_feather(True)
Gimp.context_set_feather_radius(4, 4)
image.select_ellipse(Gimp.ChannelOps.REPLACE, 40, 10, 40, 30)
enlarge(image, top(image), 'selection', 'this-image')
twin.scale(4 * twin.get_width(), 4 * twin.get_height())
Gimp.Selection.none(image)
save(top(image), 'soft')
save(top(twin), 'soft-twin')

image = load('rgb8.png')
over = add(image, 'rgba8.png')
save(top(enlarge(image, over, 'visible')), 'visible')
fact('visible-layers', len(image.get_layers()))
image.flatten()
save(top(image), 'visible-source')

image = load('rgb8.png')
a = top(image)
a.add_alpha()
a.add_mask(a.create_mask(Gimp.AddMaskType.BLACK))
mask = top(enlarge(image, a)).get_mask()
fact('mask-place', *place(mask))
fact('mask-value', round(mask.get_pixel(50, 50).get_rgba()[0] * 255))

image = load('rgb8.png')
a = top(image)
refused('scale', image, [a], scale=5, output='this-image')
refused('model', image, [a], output='this-image', model='no-such-model')
refused('nothing-selected', image, [a], scope='selection', output='this-image')
refused('several', image, [a, a])
image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 4, 4)
a.set_offsets(20, 20)
refused('beside', image, [a], scope='selection', output='this-image')
channel = Gimp.Channel.new(image, 'a channel', 8, 8, 100, Gegl.Color.new('black'))
image.insert_channel(channel, None, 0)
refused('channel', image, [channel])
a.set_lock_content(True)
refused('locked', image, [a], output='this-image')
a.set_lock_content(False)
group = Gimp.GroupLayer.new(image, 'a group')
image.insert_layer(group, None, 0)
refused('group', image, [group])
Gimp.Selection.all(image)
Gimp.edit_copy([a])
Gimp.edit_paste(a, False)
refused('floating', image, [a])
fact('all', 'done')
