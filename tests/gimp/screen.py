"""A GIMP on a screen that nobody sees: driven by keyboard and mouse (xdotool), asked through its Script-Fu server."""
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

# What the title of its large window has in it.
WINDOW = 'GIMP|GNU Image'
DIALOG = '^Super-Resolution$'


class Screen:
    """`root` is the folder that the GIMP takes for `/`, empty for this system's own. `profile` is seen from there."""

    def __init__(self, generation, root, profile, shots):
        self.generation, self.root, self.profile, self.shots = generation, root, profile, shots
        self.old = generation == '2.10'
        self.port, self.number = 10400 + os.getpid() % 500, 100 + os.getpid() % 400
        # By network: the socket of the screen lies in a folder that a chroot does not see.
        # A folder for temporary files that no other program uses.
        self.temporary = f'{profile}/temporary'
        os.mkdir(root + self.temporary)
        self.reader = f'{profile}/read'
        self.write_reader(f'{root}{profile}/data/applications')
        self.env = dict(os.environ, DISPLAY=f'127.0.0.1:{self.number}', GIMP2_DIRECTORY=profile, GIMP3_DIRECTORY=profile,
                        TMPDIR=self.temporary, XDG_DATA_HOME=f'{profile}/data')
        self.processes = []

    def __enter__(self):
        self.log = open(f'{self.shots}/{self.generation}.log', 'w')
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, kind=None, *_):
        if kind:
            self.shoot('failed')
        for process in reversed(self.processes):
            # With what it started: the server would stay.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()

    def begin(self):
        self.start('Xvfb', f':{self.number}', '-screen', '0', '1280x860x24', '-listen', 'tcp', '-ac')
        time.sleep(2)
        self.start('openbox')
        batch = f'(plug-in-script-fu-server 1 "127.0.0.1" {self.port} "{self.profile}/server.log")'
        if self.old:
            self.start('gimp-2.10', '-s', '-b', batch)
        else:
            interpreter = ('--batch-interpreter', 'plug-in-script-fu-eval')
            self.start('chroot', self.root, 'gimp', '-s', *interpreter, '-b', batch)
        self.server = self.connect()
        time.sleep(3)
        for window in self.tool('xdotool', 'search', '--onlyvisible', '--name', 'Welcome to GIMP').split():
            self.tool('xdotool', 'windowclose', window)

    def start(self, *command):
        options = dict(env=self.env, stdout=self.log, stderr=self.log, start_new_session=True)
        self.processes.append(subprocess.Popen(command, **options))

    def write_reader(self, folder):
        """A reader of web pages that only notes which one it was given, in `reader`."""
        os.makedirs(folder)
        with open(f'{folder}/reader.desktop', 'w') as file:
            file.write(f"[Desktop Entry]\nType=Application\nName=Reader\nMimeType=text/html;\n"
                       f"Exec=sh -c 'echo \"$0\" >> {self.reader}' %u\n")
        with open(f'{folder}/mimeapps.list', 'w') as file:
            file.write('[Added Associations]\ntext/html=reader.desktop\n[Default Applications]\ntext/html=reader.desktop\n')

    # The server.

    def connect(self):
        for _ in range(240):
            try:
                return socket.create_connection(('127.0.0.1', self.port))
            except OSError:
                time.sleep(0.5)
        sys.exit('desktop: GIMP did not start its server')

    def send(self, code):
        data = code.encode()
        self.server.sendall(b'G' + struct.pack('>H', len(data)) + data)

    def receive(self, count):
        data = b''
        while len(data) < count:
            more = self.server.recv(count - len(data))
            if not more:
                sys.exit('desktop: GIMP has gone')
            data += more
        return data

    def answer(self):
        """Whether it failed, and the text."""
        head = self.receive(4)
        return head[1] != 0, self.receive(struct.unpack('>H', head[2:])[0]).decode()

    def ask(self, code):
        self.send(code)
        failed, text = self.answer()
        assert not failed, f'{code}\n{text}'
        return text

    # Screen, keyboard, mouse.

    def tool(self, *words):
        return subprocess.run(words, env=self.env, capture_output=True, text=True).stdout

    def keys(self, *names):
        self.tool('xdotool', 'key', '--delay', '80', *names)
        time.sleep(1)

    def window(self, name):
        """The number of a window that is to be seen, or nothing."""
        found = self.tool('xdotool', 'search', '--onlyvisible', '--name', name).split()
        return found[-1] if found else None

    def activate(self, name):
        """Gives the keyboard to the window of this name, and says its number."""
        for _ in range(80):
            window = self.window(name)
            if window:
                self.tool('xdotool', 'windowactivate', '--sync', window)
                time.sleep(0.5)
                return window
            time.sleep(0.25)
        raise AssertionError(f'no window {name}')

    def fill(self, width=1270, height=820):
        """Gives GIMP's window a size, at the corner of the screen."""
        window = self.activate(WINDOW)
        self.tool('xdotool', 'windowmove', window, '0', '0')
        self.tool('xdotool', 'windowsize', window, str(width), str(height))
        time.sleep(3)
        return window

    def shoot(self, name, window='root', part=None, colours=None):
        """A picture of a window, or of a part of it (as 400x300+20+10), in so many colours."""
        file = f'{self.shots}/{self.generation}-{name}.png'
        self.tool('import', '-window', window, file)
        change = ['-crop', part, '+repage'] if part else []
        change += ['+dither', '-colors', str(colours), '-define', 'png:compression-level=9'] if colours else []
        if change:
            self.tool('convert', file, *change, file)
        return file

    def place(self, window):
        """Left, top, width, height on the screen."""
        facts = self.tool('xwininfo', '-id', window)
        names = 'Absolute upper-left X', 'Absolute upper-left Y', 'Width', 'Height'
        return [int(re.search(rf'{name}: +(-?\d+)', facts)[1]) for name in names]

    def framed(self, window):
        """Where a window is with its frame, as `shoot` takes it."""
        left, top, width, height = self.place(window)
        return f'{width + 2}x{height + 24}+{max(left - 1, 0)}+{max(top - 20, 0)}'

    def look(self, part):
        """What is on the screen there, as a number that is the same for the same picture."""
        cut = subprocess.run(['import', '-window', 'root', '-crop', part, '+repage', 'rgb:-'], env=self.env, capture_output=True)
        assert cut.stdout, cut.stderr
        return hashlib.sha256(cut.stdout).hexdigest()

    def changed(self, before, after, part):
        """Where two screenshots differ within a part of them: left, top, width, height; nothing where they do not."""
        words = ('convert', before, after, '-compose', 'difference', '-composite', '-crop', part, '-threshold', '2%')
        box = self.tool(*words, '-format', '%@', 'info:')
        # Counted from the part's own corner.
        width, height, left, top = (int(n) for n in re.findall(r'\d+', box)[:4]) if box else (0, 0, 0, 0)
        corner = [int(n) for n in re.findall(r'\d+', part)[2:]]
        return (corner[0] + left, corner[1] + top, width, height) if width and height else None

    # The plug-in.

    def call(self, mode=1, scale=4, scope=0, output=0):
        """Script-Fu that runs it on `layer` of `image`."""
        if self.old:
            return (f'(plug-in-ssmoesr {mode} image layer {scale} {scope} {output} "" "auto" 0 "" 0 -1 -1 "" 0 0 "joint" '
                    '0 "auto")')
        scope = ('layer', 'selection', 'visible')[scope]
        output = ('new-image', 'this-image', 'new-layer')[output]
        return (f'(plug-in-ssmoesr #:run-mode {mode} #:image image #:drawables (vector layer) #:scale {scale} '
                f'#:scope "{scope}" #:output "{output}" #:tile-overlap 0 #:precision "auto")')

    def to_menu(self):
        """Opens the menu in which the entry is."""
        self.activate(WINDOW)
        # Fi_lters, En_hance in English.
        self.keys('alt+r')
        self.keys('h')

    def dialog(self):
        """Opens the dialog from the menu, and waits for its figures and the preview."""
        self.to_menu()
        self.keys('l')
        window = self.activate(DIALOG)
        self.settle(window)
        return window

    def settle(self, window):
        """Waits until a window has looked the same for two seconds."""
        left, top, width, height = self.place(window)
        part = f'{width}x{height}+{left}+{top}'
        last, since = self.look(part), time.monotonic()
        began = since
        while time.monotonic() - since < 2:
            assert time.monotonic() - began < 120, 'the window never comes to rest'
            time.sleep(0.3)
            now = self.look(part)
            if now != last:
                last, since = now, time.monotonic()

    def plug_ins(self):
        """Processes of ours (the server and GIMP have other names)."""
        return [int(p) for p in self.tool('pgrep', '-f', f'{self.profile}/plug-ins/ssmoesr-gimp/ssmoesr-gimp').split()]

    def wait_for(self, what, seconds=120):
        """Waits until `what` answers yes; how long that took."""
        began = time.monotonic()
        while not what():
            assert time.monotonic() - began < seconds, 'waited in vain'
            time.sleep(0.02)
        return time.monotonic() - began

    # Images.

    def images(self):
        return int(self.ask('(car (gimp-image-list))' if self.old else '(vector-length (car (gimp-get-images)))'))

    def open(self, picture):
        load = '(gimp-file-load 1 "{0}" "{0}")' if self.old else '(gimp-file-load 1 "{0}")'
        self.ask(f'(define image (car {load.format(picture)}))')
        active = '(car (gimp-image-get-active-drawable image))'
        if not self.old:
            active = '(vector-ref (car (gimp-image-get-selected-drawables image)) 0)'
        self.ask(f'(define layer {active})')

    def add_layer(self):
        """A second layer, moved, with a mask, so that there is something to lose."""
        copy = '(gimp-layer-copy layer TRUE)' if self.old else '(gimp-layer-copy layer)'
        self.ask(f'(define over (car {copy}))')
        self.ask('(gimp-image-insert-layer image over 0 0)')
        self.ask('(gimp-layer-set-offsets over 9 -5)')
        self.ask('(gimp-layer-add-mask over (car (gimp-layer-create-mask over 0)))')
        # The picture and not the mask is what a click on Filters is about.
        self.ask('(gimp-layer-set-edit-mask over 0)')

    def display(self):
        self.ask('(define display (car (gimp-display-new image)))')
        time.sleep(2)

    def close(self):
        self.ask('(gimp-display-delete display)')

    def state(self):
        """Sizes and layers of the image, and what is to be seen with and without the upper layer."""
        get = 'gimp-drawable-{}' if self.old else 'gimp-drawable-get-{}'
        at = 'gimp-drawable-offsets' if self.old else 'gimp-drawable-get-offsets'
        words = []
        for item in ('layer', 'over'):
            words.append(self.ask(f'(list ({get.format("width")} {item}) ({get.format("height")} {item}) ({at} {item}))'))
        size = 'gimp-image-{}' if self.old else 'gimp-image-get-{}'
        words.append(self.ask(f'(list ({size.format("width")} image) ({size.format("height")} image) '
                              '(gimp-selection-bounds image))'))
        layers = '(car (gimp-image-get-layers image))'
        words.append(self.ask(layers if self.old else f'(vector-length {layers})'))
        file = f'{self.profile}/state.png'
        for shown in (1, 0):
            save = (f'(file-png-save 1 twin (car (gimp-image-get-active-drawable twin)) "{file}" "{file}" 0 1 0 0 0 0 0)'
                    if self.old else f'(gimp-file-save 1 twin "{file}" -1)')
            self.ask('(define twin (car (gimp-image-duplicate image)))')
            every = '(cadr (gimp-image-get-layers twin))' if self.old else '(car (gimp-image-get-layers twin))'
            self.ask(f'(gimp-item-set-visible (vector-ref {every} 0) {shown})')
            self.ask('(gimp-image-flatten twin)')
            self.ask(save)
            self.ask('(gimp-image-delete twin)')
            with open(self.root + file, 'rb') as png:
                words.append(hashlib.sha256(pixels(png.read())).hexdigest()[:12])
        return words

    def files(self):
        """What lies in folders for temporary files; this system's own is not looked at, as others use it, too."""
        own = os.listdir(self.root + self.temporary)
        return sorted(own + (os.listdir(f'{self.root}/tmp') if self.root else []))


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
