#!/usr/bin/env python3
"""Does with the plug-in what a user does, on a screen of its own: the entry of the menu, the dialog, undo, redo, a kill in
the middle. Called by scripts/test-gimp-desktop.sh: desktop.py GENERATION ROOT PROFILE PICTURE SHOTS

GIMP is driven by the keyboard (xdotool), and asked through its Script-Fu server. SHOTS is a folder for screenshots."""
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time

generation, root, profile, picture, shots = sys.argv[1:6]
PORT, SCREEN = 10400 + os.getpid() % 500, 100 + os.getpid() % 400
OLD = generation == '2.10'
# By network: the socket of the screen lies in a folder that a chroot does not see.
env = dict(os.environ, DISPLAY=f'127.0.0.1:{SCREEN}', GIMP2_DIRECTORY=profile, GIMP3_DIRECTORY=profile)
processes = []


def start(*command):
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    processes.append(process)
    return process


def connect():
    for _ in range(240):
        try:
            return socket.create_connection(('127.0.0.1', PORT))
        except OSError:
            time.sleep(0.5)
    sys.exit('desktop: GIMP did not start its server')


def send(code):
    data = code.encode()
    server.sendall(b'G' + struct.pack('>H', len(data)) + data)


def receive(count):
    data = b''
    while len(data) < count:
        more = server.recv(count - len(data))
        if not more:
            sys.exit('desktop: GIMP has gone')
        data += more
    return data


def answer():
    """Whether it failed, and the text."""
    head = receive(4)
    return head[1] != 0, receive(struct.unpack('>H', head[2:])[0]).decode()


def ask(code, fail=False):
    send(code)
    failed, text = answer()
    assert failed == fail, f'{code}\n{text}'
    return text


def call(mode=1, scale=4, scope=0, output=0):
    if OLD:
        return (f'(plug-in-ssmoesr {mode} image layer {scale} {scope} {output} "" "auto" 0 "" 0 -1 -1 "" 0 0 "joint" 0 "auto")')
    scope = ('layer', 'selection', 'visible')[scope]
    output = ('new-image', 'this-image', 'new-layer')[output]
    return (f'(plug-in-ssmoesr #:run-mode {mode} #:image image #:drawables (vector layer) #:scale {scale} '
            f'#:scope "{scope}" #:output "{output}")')


def tool(*words):
    return subprocess.run(words, env=env, capture_output=True, text=True).stdout


def keys(*names):
    tool('xdotool', 'key', '--delay', '80', *names)
    time.sleep(1)


def activate(name):
    """Gives the keyboard to the window of this name; whether there is one."""
    for _ in range(40):
        found = tool('xdotool', 'search', '--onlyvisible', '--name', name).split()
        if found:
            tool('xdotool', 'windowactivate', '--sync', found[-1])
            time.sleep(0.5)
            return True
        time.sleep(0.25)
    return False


def shoot(name):
    tool('import', '-window', 'root', f'{shots}/{generation}-{name}.png')


def open_picture():
    load = '(gimp-file-load 1 "{0}" "{0}")' if OLD else '(gimp-file-load 1 "{0}")'
    ask(f'(define image (car {load.format(picture)}))')
    active = '(car (gimp-image-get-active-drawable image))'
    if not OLD:
        active = '(vector-ref (car (gimp-image-get-selected-drawables image)) 0)'
    ask(f'(define layer {active})')
    # A second layer, moved, with a mask, so that there is something to lose.
    copy = '(gimp-layer-copy layer TRUE)' if OLD else '(gimp-layer-copy layer)'
    ask(f'(define over (car {copy}))')
    ask('(gimp-image-insert-layer image over 0 0)')
    ask('(gimp-layer-set-offsets over 9 -5)')
    ask('(gimp-layer-add-mask over (car (gimp-layer-create-mask over 0)))')
    ask('(define display (car (gimp-display-new image)))')
    time.sleep(2)


def close_picture():
    ask('(gimp-display-delete display)')


def state():
    """Sizes and layers of the image, and what is to be seen with and without the upper layer."""
    get = 'gimp-drawable-{}' if OLD else 'gimp-drawable-get-{}'
    words = []
    for item in ('layer', 'over'):
        at = 'gimp-drawable-offsets' if OLD else 'gimp-drawable-get-offsets'
        words.append(ask(f'(list ({get.format("width")} {item}) ({get.format("height")} {item}) ({at} {item}))'))
    size = 'gimp-image-{}' if OLD else 'gimp-image-get-{}'
    words.append(ask(f'(list ({size.format("width")} image) ({size.format("height")} image) '
                     '(gimp-selection-bounds image))'))
    words.append(ask('(car (gimp-image-get-layers image))' if OLD else '(vector-length (car (gimp-image-get-layers image)))'))
    for shown in (1, 0):
        file = f'{profile}/state.png'
        save = (f'(file-png-save 1 twin (car (gimp-image-get-active-drawable twin)) "{file}" "{file}" 0 1 0 0 0 0 0)'
                if OLD else f'(gimp-file-save 1 twin "{file}" -1)')
        ask('(define twin (car (gimp-image-duplicate image)))')
        top = '(vector-ref (cadr (gimp-image-get-layers twin)) 0)' if OLD else '(vector-ref (car (gimp-image-get-layers twin)) 0)'
        ask(f'(gimp-item-set-visible {top} {shown})')
        ask('(gimp-image-flatten twin)')
        ask(save)
        ask('(gimp-image-delete twin)')
        with open(root + file, 'rb') as png:
            words.append(hashlib.sha256(pixels(png.read())).hexdigest()[:12])
    return words


def pixels(png):
    """The chunks of a PNG file that hold the picture: not its time or text."""
    out, at = b'', 8
    while at < len(png):
        size = struct.unpack('>I', png[at:at + 4])[0]
        kind = png[at + 4:at + 8]
        if kind in (b'IHDR', b'IDAT', b'PLTE'):
            out += png[at:at + 12 + size]
        at += 12 + size
    return out


def undo_and_redo():
    for scope, output in ((0, 1), (1, 1), (0, 2), (2, 2)):
        open_picture()
        if scope == 1:
            ask('(gimp-context-set-feather TRUE)')
            ask('(gimp-context-set-feather-radius 5 5)')
            ask('(gimp-image-select-ellipse image 2 20 20 60 50)')
        before = state()
        ask(call(scope=scope, output=output))
        after = state()
        assert before != after
        activate(WINDOW)
        keys('ctrl+z')
        undone = state()
        assert undone == before, f'undo of {scope} {output}:\n{before}\n{undone}'
        keys('ctrl+y')
        redone = state()
        assert redone == after, f'redo of {scope} {output}:\n{after}\n{redone}'
        close_picture()
        print(f'ok   undo and redo, scope {scope} into {output}')


def plug_ins():
    """Processes of ours that compute (the server and GIMP have other names)."""
    return [int(p) for p in tool('pgrep', '-f', f'{profile}/plug-ins/ssmoesr-gimp/ssmoesr-gimp').split()]


def wait_for(what, seconds=60):
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, 'waited in vain'
        time.sleep(0.02)
    return time.monotonic() - began


def repeat():
    """Ctrl+F: once more with the last values, without a dialog."""
    open_picture()
    # Both rounds shall be short.
    ask('(gimp-layer-remove-mask over 1)')
    ask('(gimp-image-scale image 60 45)')
    number = '(car (gimp-image-list))' if OLD else '(vector-length (car (gimp-get-images)))'
    count = int(ask(number))
    activate(WINDOW)
    # Only what was chosen from the menu can be repeated.
    keys('alt+r', 'h', 'r')
    # Where another entry has the same letter, it only moved there.
    if not tool('xdotool', 'search', '--onlyvisible', '--name', '^Super-Resolution$'):
        keys('Return')
    assert activate('^Super-Resolution$'), 'no dialog from the menu'
    time.sleep(4)
    keys('alt+g')
    wait_for(lambda: int(ask(number)) == count + 1)
    wait_for(lambda: not plug_ins())
    activate(WINDOW)
    keys('ctrl+f')
    wait_for(lambda: int(ask(number)) == count + 2)
    wait_for(lambda: not plug_ins())
    shoot('repeated')
    close_picture()
    print('ok   repeated with the last values by Ctrl+F')


def report():
    """The button under Advanced, and what is in the clipboard then."""
    send(call(mode=0))
    assert activate('^Super-Resolution$'), 'no dialog'
    time.sleep(4)
    keys('alt+v')
    keys('alt+y')
    shoot('report')
    copied = tool('xclip', '-selection', 'clipboard', '-o')
    keys('Escape')
    answer()
    inside = ['chroot', root] if root else []
    home = dict(env, PATH=env['PATH'], XDG_CONFIG_HOME=profile)
    checked = subprocess.run(inside + [f'{profile}/plug-ins/ssmoesr-gimp/ssmoesr-gimp', '--check'], env=home,
                             capture_output=True, text=True).stdout
    for name in ('ssmoesr-gimp ', 'model: ', 'device: ', 'possible device: ', 'machine: ', 'GIMP '):
        for text in (copied, checked):
            assert any(line.startswith(name) for line in text.splitlines()), f'no {name}in\n{text}'
    version = copied.split('open: GIMP ')[1].split(',')[0]
    assert version.startswith(generation), copied
    assert '  values: scale=4' in copied and 'last run' in copied, copied
    print(f'ok   the report is in the clipboard, of GIMP {version}')


def kill_in_the_middle():
    open_picture()
    # Large enough to be in the middle for a while.
    ask('(gimp-image-scale image 1600 1200)')
    before = state()
    files = sorted(os.listdir(root + '/tmp'))
    send(call(scale=8, output=1))
    time.sleep(3)
    shoot('progress')
    killed = plug_ins()
    assert killed, 'the plug-in was done before it could be killed'
    began = time.monotonic()
    for process in killed:
        os.kill(process, signal.SIGKILL)
    failed, _ = answer()
    took = time.monotonic() - began
    assert failed and took < 2, took
    assert state() == before, 'a killed run left something in the image'
    assert [p for p in plug_ins() if p in killed] == []
    assert sorted(os.listdir(root + '/tmp')) == files, 'a killed run left files'
    close_picture()
    print(f'ok   killed in the middle, over after {took:.2f} s')


def dialog():
    open_picture()
    activate(WINDOW)
    keys('alt+r')
    shoot('filters')
    # En_hance in English.
    keys('h')
    shoot('menu')
    keys('Escape', 'Escape', 'Escape')
    send(call(mode=0))
    assert activate('^Super-Resolution$'), 'no dialog'
    time.sleep(5)
    shoot('dialog')
    keys('alt+v')
    shoot('dialog-advanced')
    keys('Escape')
    failed, text = answer()
    print(f'ok   dialog opened and cancelled ({text.strip() or "no text"})')
    send(call(mode=0))
    assert activate('^Super-Resolution$'), 'no dialog'
    time.sleep(4)
    keys('alt+g')
    failed, text = answer()
    assert not failed, text
    time.sleep(2)
    shoot('result')
    print('ok   dialog opened and followed')


WINDOW = 'GIMP|GNU Image'
with open(f'{shots}/{generation}.log', 'w') as log:
    try:
        start('Xvfb', f':{SCREEN}', '-screen', '0', '1280x860x24', '-listen', 'tcp', '-ac')
        time.sleep(2)
        start('openbox')
        batch = f'(plug-in-script-fu-server 1 "127.0.0.1" {PORT} "{profile}/server.log")'
        if OLD:
            start('gimp-2.10', '-s', '-b', batch)
        else:
            start('chroot', root, 'gimp', '-s', '--batch-interpreter', 'plug-in-script-fu-eval', '-b', batch)
        server = connect()
        time.sleep(3)
        for window in tool('xdotool', 'search', '--onlyvisible', '--name', 'Welcome to GIMP').split():
            tool('xdotool', 'windowclose', window)
        dialog()
        repeat()
        open_picture()
        report()
        close_picture()
        undo_and_redo()
        kill_in_the_middle()
        print(f'GIMP {generation}: ALL PASSED')
    finally:
        for process in reversed(processes):
            process.kill()
