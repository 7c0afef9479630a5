#!/usr/bin/env python3
"""Does with the plug-in what a user does: the entry of the menu, the dialog, progress, cancel, undo, redo, a kill in the
middle. Called by scripts/test-gimp-desktop.sh: desktop.py GENERATION ROOT PROFILE PICTURE SHOTS [CASE ...]

SHOTS is a folder for screenshots. Run only where they are named: `pictures` makes those of the documentation, `memory`
takes 5 GB of it."""
import os
import re
import signal
import subprocess
import sys
import time

from screen import DIALOG, WINDOW, Screen

generation, root, profile, picture, shots = sys.argv[1:6]


def opened(gimp):
    gimp.open(picture)
    gimp.add_layer()
    gimp.display()


def dialog(gimp):
    """Opened and cancelled; opened and followed."""
    opened(gimp)
    count = gimp.images()
    gimp.to_menu()
    gimp.shoot('menu')
    gimp.keys('Escape', 'Escape', 'Escape')
    gimp.dialog()
    gimp.shoot('dialog')
    gimp.keys('alt+v')
    gimp.shoot('dialog-advanced')
    gimp.keys('Escape')
    gimp.wait_for(lambda: not gimp.plug_ins())
    assert gimp.images() == count, 'a cancelled dialog left an image'
    gimp.dialog()
    gimp.keys('alt+g')
    gimp.wait_for(lambda: gimp.images() == count + 1)
    gimp.wait_for(lambda: not gimp.plug_ins())
    time.sleep(2)
    gimp.shoot('result')
    gimp.close()
    print('ok   dialog opened and cancelled, opened and followed')


def repeat(gimp):
    """Ctrl+F: once more with the last values, without a dialog."""
    opened(gimp)
    # Both rounds shall be short.
    gimp.ask('(gimp-layer-remove-mask over 1)')
    gimp.ask('(gimp-image-scale image 60 45)')
    count = gimp.images()
    # Only what was chosen from the menu can be repeated.
    gimp.dialog()
    gimp.keys('alt+g')
    gimp.wait_for(lambda: gimp.images() == count + 1)
    gimp.wait_for(lambda: not gimp.plug_ins())
    gimp.activate(WINDOW)
    gimp.keys('ctrl+f')
    gimp.wait_for(lambda: gimp.images() == count + 2)
    gimp.wait_for(lambda: not gimp.plug_ins())
    gimp.shoot('repeated')
    gimp.close()
    print('ok   repeated with the last values by Ctrl+F')


def copied_report(gimp):
    """What the button of the dialog puts into the clipboard."""
    gimp.keys('alt+v')
    gimp.keys('alt+y')
    return gimp.tool('xclip', '-selection', 'clipboard', '-o')


def report(gimp):
    """The button under Advanced, and what is in the clipboard then."""
    opened(gimp)
    gimp.dialog()
    copied = copied_report(gimp)
    gimp.shoot('report')
    gimp.keys('Escape')
    gimp.wait_for(lambda: not gimp.plug_ins())
    gimp.close()
    inside = ['chroot', root] if root else []
    home = dict(gimp.env, XDG_CONFIG_HOME=profile)
    checked = subprocess.run(inside + [f'{profile}/plug-ins/ssmoesr-gimp/ssmoesr-gimp', '--check'], env=home,
                             capture_output=True, text=True).stdout
    for name in ('ssmoesr-gimp ', 'model: ', 'device: ', 'possible device: ', 'machine: ', 'GIMP '):
        for text in (copied, checked):
            assert any(line.startswith(name) for line in text.splitlines()), f'no {name}in\n{text}'
    version = copied.split('open: GIMP ')[1].split(',')[0]
    assert version.startswith(generation), copied
    assert '  values: scale=4' in copied, copied
    print(f'ok   the report is in the clipboard, of GIMP {version}')


def help(gimp):
    """The button for help opens a page on this machine."""
    opened(gimp)
    gimp.dialog()
    gimp.keys('alt+h')
    note = root + gimp.reader
    gimp.wait_for(lambda: os.path.exists(note) and os.path.getsize(note) > 0)
    gimp.shoot('help')
    gimp.activate(DIALOG)
    gimp.keys('Escape')
    gimp.wait_for(lambda: not gimp.plug_ins())
    gimp.close()
    with open(note) as file:
        page = file.read().strip()
    path = page.removeprefix('file://')
    assert path.startswith(profile) and os.path.isfile(root + path), page
    print(f'ok   help opens {path.removeprefix(profile)}')


def undo(gimp):
    """One step back and forth, for every way into the image itself."""
    for scope, output in ((0, 1), (1, 1), (0, 2), (2, 2)):
        opened(gimp)
        if scope == 1:
            gimp.ask('(gimp-context-set-feather TRUE)')
            gimp.ask('(gimp-context-set-feather-radius 5 5)')
            gimp.ask('(gimp-image-select-ellipse image 2 20 20 60 50)')
        before = gimp.state()
        gimp.ask(gimp.call(scope=scope, output=output))
        after = gimp.state()
        assert before != after
        gimp.activate(WINDOW)
        gimp.keys('ctrl+z')
        undone = gimp.state()
        assert undone == before, f'undo of {scope} {output}:\n{before}\n{undone}'
        gimp.keys('ctrl+y')
        redone = gimp.state()
        assert redone == after, f'redo of {scope} {output}:\n{after}\n{redone}'
        gimp.close()
        print(f'ok   undo and redo, scope {scope} into {output}')


def large(gimp):
    """Opens a picture that takes a while, and shows the whole of GIMP's window."""
    opened(gimp)
    gimp.ask('(gimp-image-scale image 2400 1800)')
    gimp.ask('(gimp-displays-flush)')
    window = gimp.fill()
    # The whole picture in the window.
    gimp.keys('ctrl+shift+j')
    return window


def begin_from_menu(gimp):
    """Begins a long run into this image, from the menu."""
    gimp.dialog()
    # Not the fastest quality.
    gimp.keys('alt+q')
    gimp.keys('Down', 'Down')
    # "This image, in the layer's place".
    gimp.keys('alt+i')
    gimp.keys('Down')
    gimp.shoot('long-dialog')
    gimp.activate(DIALOG)
    gimp.keys('alt+g')
    gimp.wait_for(lambda: not gimp.window(DIALOG))


def progress(gimp):
    """The bar moves, the window is painted anew, and GIMP's own Cancel leaves nothing behind."""
    window = large(gimp)
    before, files = gimp.state(), gimp.files()
    quiet = gimp.shoot('before-work')
    left, top, width, height = gimp.place(window)
    status = f'{width}x40+{left}+{top + height - 40}'
    canvas = f'300x200+{left + 400}+{top + 300}'
    begin_from_menu(gimp)
    working = gimp.plug_ins()
    assert working, 'the plug-in was done before it could be looked at'
    seen = set()
    gimp.wait_for(lambda: seen.add(gimp.look(status)) or len(seen) > 8, 60)
    painted = gimp.shoot('painted')
    differs = lambda: gimp.changed(painted, gimp.shoot('progress'), canvas)
    gimp.tool('xdotool', 'windowminimize', '--sync', window)
    gimp.wait_for(differs, 30)
    gimp.tool('xdotool', 'windowactivate', '--sync', window)
    took = gimp.wait_for(lambda: not differs(), 30)
    gimp.wait_for(lambda: seen.add(gimp.look(status)) or len(seen) > 12, 60)
    assert gimp.plug_ins() == working, 'the plug-in was done too early for this test'
    print(f'ok   the bar moves; a window that was hidden is painted again after {took:.2f} s')
    box = gimp.changed(quiet, gimp.shoot('progress'), status)
    assert box, 'no bar'
    # The button ends the bar.
    gimp.tool('xdotool', 'mousemove', str(box[0] + box[2] - 20), str(box[1] + box[3] // 2))
    time.sleep(0.5)
    gimp.shoot('cancel')
    gimp.tool('xdotool', 'click', '1')
    took = gimp.wait_for(lambda: not set(gimp.plug_ins()) & set(working), 10)
    time.sleep(1)
    gimp.shoot('cancelled')
    assert gimp.state() == before, 'a cancelled run left something in the image'
    left = set(gimp.files()) - set(files)
    assert not left, f'a cancelled run left {left}'
    # Who cancels wants to change a value, not to set all of them again.
    gimp.dialog()
    values = copied_report(gimp).split('  values: ')[1].splitlines()[0].split(', ')
    gimp.keys('Escape')
    gimp.wait_for(lambda: not gimp.plug_ins())
    assert 'output=this-image' in values and 'steps=4' in values, values
    gimp.close()
    print(f'ok   cancelled by the button in the status bar, gone after {took:.2f} s')


def kill(gimp):
    """A kill in the middle, and what it leaves."""
    opened(gimp)
    # Large enough to be in the middle for a while.
    gimp.ask('(gimp-image-scale image 1600 1200)')
    before, files = gimp.state(), gimp.files()
    gimp.send(gimp.call(scale=8, output=1))
    gimp.wait_for(gimp.plug_ins)
    time.sleep(3)
    killed = gimp.plug_ins()
    assert killed, 'the plug-in was done before it could be killed'
    began = time.monotonic()
    for process in killed:
        os.kill(process, signal.SIGKILL)
    failed, _ = gimp.answer()
    took = time.monotonic() - began
    assert failed and took < 10, took
    assert gimp.state() == before, 'a killed run left something in the image'
    assert [p for p in gimp.plug_ins() if p in killed] == []
    left = set(gimp.files()) - set(files)
    assert not left, f'a killed run left {left}'
    gimp.close()
    print(f'ok   killed in the middle, over after {took:.2f} s')


def memory(gimp):
    """A layer of 4096 x 4096 pixels takes no more than the dialog says."""
    gimp.open(picture)
    gimp.ask('(gimp-image-scale image 4096 4096)')
    gimp.display()
    count = gimp.images()
    gimp.dialog()
    said = copied_report(gimp).split('says: ')[1].splitlines()[0]
    gimp.shoot('memory')
    gimp.keys('alt+g')
    gimp.wait_for(lambda: gimp.images() == count + 1, 900)
    gimp.wait_for(lambda: not gimp.plug_ins())
    with open(f'{root}{profile}/ssmoesr-last-run') as record:
        outcome = record.read().split('outcome=')[1].splitlines()[0]
    taken, planned = re.search(r'([\d.]+ [GM]B) of memory at most, ([\d.]+ [GM]B) planned', outcome).groups()
    assert said.startswith(f'16384 x 16384 pixels, {planned} of memory'), (said, outcome)
    assert taken[-2:] == planned[-2:] and float(taken[:-3]) <= float(planned[:-3]), outcome
    print(f'ok   4096 x 4096: the dialog said {said!r}, the run {outcome!r}')


def pictures(gimp):
    """What the documentation shows: menu, dialog, progress and result."""
    gimp.tool('xdotool', 'mousemove', '1279', '859')
    gimp.open(picture)
    gimp.display()
    window = gimp.fill(1000, 580)
    # The docks go away.
    gimp.keys('Tab')
    gimp.to_menu()
    # The last but one.
    gimp.keys('Up', 'Up')
    gimp.shoot('menu', part='620x600+380+0', colours=96)
    gimp.keys('Escape', 'Escape', 'Escape')
    gimp.fill(620, 480)
    dialog = gimp.dialog()
    gimp.shoot('dialog', part=gimp.framed(dialog), colours=192)
    gimp.keys('alt+v')
    gimp.settle(dialog)
    gimp.shoot('advanced', part=gimp.framed(dialog), colours=192)
    count = gimp.images()
    gimp.keys('alt+g')
    gimp.wait_for(lambda: gimp.images() == count + 1)
    gimp.wait_for(lambda: not gimp.plug_ins())
    # GIMP makes its window larger for a larger picture.
    gimp.fill(620, 480)
    # One pixel of the picture on one of the screen.
    gimp.keys('1')
    gimp.settle(window)
    gimp.shoot('result', part=gimp.framed(window), colours=96)
    gimp.open(picture)
    gimp.ask('(gimp-image-scale image 2400 1590)')
    gimp.display()
    gimp.fill(760, 560)
    gimp.keys('ctrl+shift+j')
    begin_from_menu(gimp)
    left, top, width, height = gimp.place(window)
    status = f'{width}x40+{left}+{top + height - 40}'
    seen = set()
    gimp.wait_for(lambda: seen.add(gimp.look(status)) or len(seen) > 40)
    gimp.shoot('progress', part=f'{width + 2}x300+{left - 1}+{top + height - 299}', colours=96)


CASES = {case.__name__: case for case in (dialog, repeat, report, help, undo, progress, kill)}
wanted = sys.argv[6:] or list(CASES)
CASES.update(pictures=pictures, memory=memory)
with Screen(generation, root, profile, shots) as gimp:
    for name in wanted:
        CASES[name](gimp)
print(f'GIMP {generation}: ALL PASSED ({", ".join(wanted)})')
