"""The world: names, trades, animals, places with what is seen and heard there, things with what they are good for."""

GIRLS = """Maria Anna Lucia Rosa Clara Ella Nora Ivy Ruth Maya Zoe Tess Greta Ada Hanna Molly Daisy Sara Eva June Polly Freya Wendy Alma Nina
Iris Betty Dora Emma Kate Leila Amina Priya Mei Yuki Olga Marta Elsa Tilda Fatima Ingrid Sofia Carmen Ines Paloma Aoife Niamh Saoirse Bridget Eilidh
Zainab Halima Aisha Noor Yasmin Samira Shirin Parisa Anjali Kavya Lakshmi Meera Sunita Deepa Hina Naoko Haruka Sakura Emiko Linh Thuy Mai Ha-eun
Jisoo Minji Lan Xia Ling Jia Adaeze Chioma Ngozi Amara Zuri Wanjiru Makena Thandi Naledi Lerato Abena Efua Akosua Ayana Selam Makeda Katya Irina Vera
Nadia Zofia Agata Hedda Sigrid Astrid Solveig Liv Maren Tove Aino Helmi Kaisa Ilse Lotte Anke Femke Saskia Margit Ilona Petra Dana Elena Ioana Mirela
Despina Eleni Daphne Giulia Chiara Bianca Renata Beatriz Marisol Xiomara Itzel Lupe Quilla Nayra Aiyana Hina Moana Leilani Mahina Sina Talia Miriam
Rachel Esther Shira Tamar Nino Ketevan Anahit Gulnara Aygul Dilnoza Tenzin Pema Dolma Nilufar Rukhsana Tuba Elif Zeynep Defne Josephine Harriet
Matilda Winifred Agnes Edith Martha Phoebe Flora Pearl Hazel Rowan Juno Marigold Cora Della Effie Hettie Ottilie Pippa Rosalind Tabitha Una Willa""".split()
BOYS = """Tom Ben Jack Sam Leo Max Finn Peter Paul Otto Hugo Oscar Noah Adam Henry Will Theo Felix Jacob Simon Luke Daniel Robin Toby Arthur Martin
Ned George Oliver Karim Ravi Ivan Anton Emil Kenji Omar Rafael Jonas Walter Hans Ahmed Bilal Hassan Idris Jamal Khalid Malik Nabil Rashid Tariq Yusuf
Arjun Dev Kiran Manoj Nikhil Rohan Sanjay Vikram Haruto Takeshi Hiro Daichi Minh Quang Bao Tuan Jun Wei Bo Feng Min-jun Seo-jun Tae Chidi Emeka Kofi
Kwame Obi Sipho Tendai Themba Baraka Juma Kamau Otieno Desta Yonas Abel Dawit Boris Dmitri Misha Pavel Sasha Yuri Kazimir Stefan Tomasz Bjorn Erik Lars
Leif Nils Olaf Sven Aarne Eino Juhani Klaus Jurgen Pieter Ruben Willem Bela Istvan Laszlo Marek Milos Radu Vasile Costas Nikos Yannis Luca Marco Matteo
Paolo Bruno Diego Javier Mateo Pablo Santiago Thiago Joao Tupac Inti Koa Kai Manu Tane Sione Elias Ezra Asher Levi Reuben Giorgi Levan Aram Tigran
Timur Bakyt Dorji Sonam Firoz Imran Emre Kerem Mehmet Barnaby Cyril Desmond Edmund Fergus Callum Hamish Angus Ewan Ruairi Cormac Declan Eamon Padraig
Gareth Dylan Rhys Jasper Linus Magnus Nico Percy Quentin Rufus Silas Tobias Victor Wilfred Xavier Zeb Albie Monty Ernest Gilbert Basil Clement""".split()
SURNAMES = """Okafor Petrov Baker Lindqvist Tanaka Moreno Haddad Fernandes Novak Kowalski O'Brien MacLeod Singh Patel Nguyen Kim Li Mensah Adeyemi Rossi
Weber Jansen Dupont Silva Castillo Papadakis Yilmaz Aziz Cohen Larsen Virtanen Horvath Popescu Diaz Abara Finch Marlow Pettigrew Appleby Bramwell Thornton
Whitlock Crane Hollis Pomfret Quill Rook Tully Underhill Vance Wren Birch Cobb Dunn Gale Hartley Ives Juniper Kettle Larkin Merrow Nettle Oakes Penny""".split()
PET_NAMES = """Pip Rusty Nutmeg Bramble Clover Biscuit Pepper Poppy Dusty Fern Button Pebble Sparky Mossy Willow Snowy Ginger Patch Toffee Acorn Whiskers
Barley Honey Flicker Twig Maple Sooty Bobbin Thistle Tansy Burr Cobble Dapple Ember Fidget Gorse Hopper Inky Jingle Kip Lichen Mustard Needle Oats Pocket
Quince Ripple Sorrel Tumble Velvet Waffle Yarrow Ziggy Bumble Crumb Drizzle Figgy Gruff Heather Jumble Knot Lantern Mallow Nibs Olive Parsley Raisin Saffron
Tinker Umber Wicket Bracken Chestnut Dewdrop Fennel Gravel Harebell Kestrel Marble Nettle Otis Pumpkin Rolo Sesame Teasel Woolly Bertram Cuthbert Horatio
Tallulah Moss Puddle Scamp Trundle Wisp Blossom Comfrey Dandelion Flint Mumbles Snuffle Zephyr""".split()
SYLLABLES = ("Ba Be Bo Da De Do Fa Fe Ga Ha Ka Ke Ko La Le Lo Ma Me Mi Mo Na Ne Ni Pa Pe Ra Re Ri Ro Sa Se So Ta Te Ti To Va Vi Wa Za Zi".split(),
             "ba bi da do la li lo ma mi na ni no ra ri ro sa ta ti va za lan men nor rin".split(), "l n r s la na ra ro no m th ny ka ri la lo".split())

# kind: (home, food, gift, small or big, where it lives, how it moves)
ANIMALS = {
    "rabbit": ("burrow", "clover", "dig", "s", "land", "hopped"), "fox": ("den", "blackberries", "think of plans", "b", "land", "trotted"),
    "hedgehog": ("heap of leaves", "windfall apples", "be patient", "s", "land", "pattered"), "mouse": ("hole behind the skirting", "crumbs", "squeeze through cracks", "s", "land", "scurried"),
    "squirrel": ("hollow beech", "hazelnuts", "climb", "s", "land", "scampered"), "bear": ("cave", "honey", "lift", "b", "land", "lumbered"),
    "owl": ("hollow oak", "seed cake", "see in the dark", "b", "air", "flew"), "frog": ("pond", "flies", "jump", "s", "water", "hopped"),
    "duck": ("nest in the reeds", "bread", "swim", "s", "water", "waddled"), "mole": ("tunnel", "roots", "dig", "s", "land", "shuffled"),
    "badger": ("sett under the hill", "mushrooms", "dig", "b", "land", "plodded"), "cat": ("basket by the stove", "fish", "walk without a sound", "s", "land", "slipped"),
    "dog": ("kennel", "bones", "follow a smell", "b", "land", "trotted"), "goat": ("shed", "thistles", "climb", "b", "land", "clattered"),
    "pig": ("sty", "turnips", "follow a smell", "b", "land", "trotted"), "donkey": ("stable", "hay", "carry", "b", "land", "plodded"),
    "sparrow": ("nest under the eaves", "seeds", "fly", "s", "air", "flew"), "crow": ("nest in the elm", "corn", "fly", "s", "air", "flapped"),
    "tortoise": ("corner of the garden", "lettuce", "be patient", "s", "land", "crawled"), "beaver": ("lodge of sticks", "bark", "build", "b", "water", "waddled"),
    "otter": ("hole in the river bank", "fish", "swim", "b", "water", "slid"), "deer": ("thicket", "young leaves", "run", "b", "land", "stepped"),
    "goose": ("pen by the pond", "oats", "make a great noise", "b", "water", "waddled"), "hen": ("henhouse", "corn", "count", "s", "land", "bustled"),
    "bat": ("dark attic", "moths", "fly", "s", "air", "fluttered"), "snail": ("shell", "leaves", "be patient", "s", "land", "crept"),
    "raccoon": ("hollow log", "plums", "open things", "s", "land", "crept"), "pony": ("stable", "oats", "run", "b", "land", "trotted"),
    "lamb": ("fold", "sweet grass", "run", "s", "land", "skipped"), "robin": ("nest in the hedge", "worms", "sing", "s", "air", "flew"),
    "elephant": ("clearing", "bananas", "lift", "b", "land", "walked"), "monkey": ("fig tree", "mangoes", "climb", "s", "land", "swung"),
    "parrot": ("hollow branch", "nuts", "copy voices", "s", "air", "flew"), "penguin": ("nest of stones", "fish", "swim", "s", "water", "waddled"),
    "seal": ("rock by the sea", "fish", "swim", "b", "water", "slid"), "wolf": ("cave", "stew", "follow a smell", "b", "land", "loped"),
    "heron": ("nest in the alders", "fish", "be patient", "b", "air", "stalked"), "toad": ("cool stone", "beetles", "be patient", "s", "land", "hopped"),
    "weasel": ("dry wall", "eggs", "squeeze through cracks", "s", "land", "darted"), "shrew": ("tuft of grass", "beetles", "squeeze through cracks", "s", "land", "scurried"),
    "magpie": ("nest in the thorn", "cherries", "find shiny things", "s", "air", "flew"), "ant": ("ant hill", "crumbs", "carry", "s", "land", "marched"),
    "bee": ("hive", "honey", "find the way", "s", "air", "buzzed"), "camel": ("tent camp", "dates", "carry", "b", "land", "swayed"),
    "kangaroo": ("dry gully", "grass", "jump", "b", "land", "bounded"), "crab": ("rock pool", "seaweed", "open things", "s", "water", "scuttled"),
    "gull": ("ledge on the cliff", "herring", "fly", "s", "air", "flew"), "stork": ("nest on the chimney", "frogspawn", "fly", "b", "air", "flew"),
    "dormouse": ("ball of moss", "berries", "sleep", "s", "land", "crept"), "lizard": ("warm wall", "flies", "climb", "s", "land", "darted"),
    "ox": ("byre", "hay", "carry", "b", "land", "walked"), "cricket": ("crack in the hearth", "crumbs", "sing", "s", "land", "hopped"),
    "swan": ("island in the lake", "water weed", "swim", "b", "water", "glided"), "hare": ("hollow in the field", "clover", "run", "s", "land", "ran"),
}
JOBS = """baker|miller|fisherman|woodcutter|shoemaker|tailor|farmer|blacksmith|shepherd|weaver|potter|gardener|clockmaker|carpenter|beekeeper|postman|ferryman
lighthouse keeper|innkeeper|librarian|schoolteacher|bus driver|nurse|doctor|night watchman|stationmaster|cook|grocer|roofer|glazier|painter|fiddler|sailor
well-digger|basket maker|bell-ringer|toymaker|vet|forester|goatherd|cheesemaker|boatbuilder|chimney sweep|bookbinder|map-maker|street sweeper""".replace("\n", "|").split("|")
TRAITS = "kind brave curious shy clever cheerful gentle careful careless patient impatient quiet noisy honest stubborn playful thoughtful lonely merry dreamy tidy untidy proud restless sensible forgetful determined bashful talkative hopeful".split()
COLOURS = "red blue green yellow white black brown purple orange pink silver grey".split()

RELATIVES = {"f": ["grandmother", "mother", "aunt", "big sister", "great-aunt", "godmother"], "m": ["grandfather", "father", "uncle", "big brother", "great-uncle", "godfather"]}

# place: (at it, kind, what one sees, hears and smells there)
PLACES = {
    "harbour": ("at the harbour", "sea", ["ropes creaked", "gulls quarrelled over fish heads", "the boats nudged one another like cows at a gate", "it smelled of tar and salt", "nets hung out to dry", "a bell clinked on a buoy"]),
    "beach": ("on the beach", "sea", ["the tide had left long ribbons of weed", "sand blew in little snakes along the ground", "small waves fell over themselves", "crabs ticked among the stones", "the wind tasted of salt"]),
    "lighthouse": ("at the lighthouse", "sea", ["the great lamp turned and turned", "the stairs wound up like the inside of a shell", "spray rattled on the windows", "the sea boomed far below"]),
    "market": ("in the market", "town", ["melons were piled up like cannonballs", "a man was singing the price of onions", "pigeons walked about between people's feet", "it smelled of oranges and wet straw", "somebody was frying dough", "awnings flapped"]),
    "library": ("in the library", "town", ["dust turned slowly in the light", "pages whispered", "the radiator ticked", "it smelled of paper and floor polish", "a clock cleared its throat before it struck"]),
    "railway station": ("at the railway station", "town", ["a whistle blew", "steam and voices filled the hall", "suitcases bumped past", "the big hand of the clock jumped a minute", "pigeons sat along the iron beams"]),
    "school": ("at school", "school", ["chalk squeaked", "coats dripped on their pegs", "it smelled of wet wool and pencils", "feet thundered on the stairs", "somebody was practising the recorder"]),
    "playground": ("in the playground", "school", ["a ball thumped against the wall", "the swings squealed", "leaves ran round in circles", "a rope slapped the ground in time"]),
    "kitchen": ("in the kitchen", "home", ["the kettle hummed to itself", "flour lay over everything like snow", "steam ran down the windows", "it smelled of cinnamon", "the stove ticked and settled", "onions hung from the beam"]),
    "attic": ("in the attic", "home", ["rain drummed close overhead", "trunks stood about in the dimness", "cobwebs trembled", "a single window let in a slab of light", "it smelled of old paper and apples"]),
    "cellar": ("in the cellar", "home", ["jars glimmered on the shelves", "water dripped somewhere", "it smelled of earth and potatoes", "the steps were worn in the middle like spoons"]),
    "garden": ("in the garden", "home", ["bees bumbled in the bean flowers", "washing flapped on the line", "a blackbird scolded", "the earth smelled of rain", "sunflowers leaned over the wall"]),
    "workshop": ("in the workshop", "home", ["curls of wood lay on the floor", "it smelled of glue and sawdust", "tools hung in rows, from big to small", "a lamp swung over the bench", "the saw sang"]),
    "barn": ("in the barn", "farm", ["swallows shot in and out", "hay dust hung in the sunbeams", "something rustled in the straw", "the old boards creaked", "a cow sighed in the dark"]),
    "orchard": ("in the orchard", "farm", ["wasps staggered about among the plums", "apples thudded down in the grass", "ladders leaned in the trees", "the branches were propped up with poles"]),
    "field": ("in the field", "farm", ["larks hung singing in the air", "the barley ran before the wind like water", "poppies burned along the edge", "a scarecrow lifted one ragged sleeve"]),
    "mill": ("at the mill", "farm", ["the wheel turned and dripped", "the whole house trembled gently", "flour had turned the cobwebs white", "water roared under the floor"]),
    "well": ("by the well", "village", ["the bucket knocked against the stones", "ferns grew out of the wall", "cold air came up from below", "women were filling their jugs"]),
    "square": ("in the square", "village", ["old men were playing draughts", "the fountain talked to itself", "a dog slept in the exact middle", "swallows screamed round the tower"]),
    "bridge": ("on the bridge", "village", ["the water slid underneath, brown and slow", "a cart rumbled over", "dragonflies stitched the air", "boys were fishing with bent pins"]),
    "inn": ("at the inn", "village", ["a fire snapped in the hearth", "the sign creaked in the wind", "somebody was tuning a fiddle", "it smelled of soup"]),
    "forest": ("in the forest", "forest", ["a woodpecker knocked", "the light came down green", "pine needles swallowed every step", "somewhere a branch cracked", "mushrooms stood about in rings", "it smelled of resin"]),
    "clearing": ("in the clearing", "forest", ["foxgloves nodded", "butterflies opened and shut", "the grass was full of grasshoppers", "the tree stumps were warm from the sun"]),
    "river": ("by the river", "river", ["willows trailed their fingers", "a fish jumped and left a ring", "the stones clicked under the current", "mist lay along the far bank"]),
    "pond": ("at the pond", "river", ["frogs plopped in one after the other", "the reeds hissed", "water boatmen rowed about in the sun", "duckweed covered everything like a green cloth"]),
    "hill": ("on the hill", "hill", ["the wind combed the grass", "one could see seven villages", "sheep coughed", "clouds dragged their shadows over the slopes"]),
    "mountain pass": ("on the mountain pass", "hill", ["snow lay in the cracks of the rocks", "an eagle turned far above", "the path was no wider than a bench", "a stream fell down the rocks in three leaps"]),
    "meadow": ("in the meadow", "hill", ["the grass was taller than a cow's knee", "crickets sawed away", "seeds drifted past", "cowbells clanked"]),
    "old tower": ("in the old tower", "castle", ["jackdaws chattered in the holes", "the steps were slippery with moss", "the wind moaned in the arrow slits", "ivy had got in by the window"]),
    "palace kitchen": ("in the palace kitchen", "castle", ["forty pots bubbled", "copper pans shone like suns", "the cook was shouting about sauce", "scullions ran about with trays"]),
    "desert camp": ("in the desert camp", "desert", ["the tents glowed like lanterns", "camels grumbled", "the sand sang when the wind blew", "somebody was pounding coffee"]),
    "island": ("on the island", "sea", ["palms rattled", "the sand squeaked underfoot", "the reef muttered all day long", "hermit crabs dragged their houses about"]),
    "bakery": ("in the bakery", "town", ["the oven door clanged", "rolls steamed on the trays", "the windows were misted over", "it smelled so good that people slowed down in the street"]),
    "laundry": ("in the laundry", "town", ["steam hissed", "sheets hung in white walls", "soap bubbles slid down the gutter", "irons thumped"]),
    "rooftop": ("on the rooftop", "town", ["chimneys stood about like a crowd", "cats went about their business", "the streets were full of small noises far below", "washing lines crossed from wall to wall"]),
    "toyshop": ("in the toyshop", "town", ["a tin train ran round and round", "puppets hung in a row with their chins on their chests", "a bell tinkled over the door", "the kites rustled on the ceiling"]),
}
REALMS = {
    "sea": ["harbour", "beach", "lighthouse", "island"], "town": ["market", "library", "railway station", "bakery", "laundry", "rooftop", "toyshop"], "school": ["school", "playground", "library"],
    "farm": ["barn", "orchard", "field", "mill", "kitchen"], "village": ["well", "square", "bridge", "inn", "bakery", "mill"], "forest": ["forest", "clearing", "river"], "river": ["river", "pond", "bridge", "mill"],
    "hill": ["hill", "mountain pass", "meadow"], "home": ["kitchen", "attic", "cellar", "garden", "workshop"], "castle": ["old tower", "palace kitchen"], "desert": ["desert camp"],
}
HOMES = {
    "sea": ["a fishing village", "a white house above the harbour", "a town where every street ended in the sea", "a hut on the dunes", "a cottage with a boat for a roof"],
    "town": ["a town with crooked streets", "the top floor of a tall thin house", "a street of lamp-makers", "a flat over the bakery", "a city full of bells", "the noisiest street in town"],
    "school": ["a town with one school and two teachers", "a house so close to the school that the bell made the cups rattle", "the new part of town"],
    "farm": ["a farm among green hills", "the last farm before the moor", "a farm with eleven cows and one bad-tempered goose", "a farmhouse with a red door"],
    "village": ["a small village", "a village at the foot of a mountain", "a village that no map had ever noticed", "a village with more geese than people", "a stone house behind the church"],
    "forest": ["a cottage at the edge of a forest", "a log house among the pines", "a forester's hut"], "river": ["an old mill by a stream", "a houseboat on a slow brown river", "a house on stilts"],
    "hill": ["a valley full of orchards", "a hut high up among the sheep", "a mountain village where winter lasted half the year"],
    "home": ["a narrow house with a great many stairs", "a yellow house at the end of the lane", "an ordinary house in an ordinary street", "a house with a leaning chimney"],
    "castle": ["a small castle that leaked", "the gatehouse of a castle", "a kingdom so small that the king did his own shopping"], "desert": ["a camp between two dunes", "a mud-brick house by the last well before the sands"],
}

# kind of thing: (what it is for, describing words)
THINGS = {
    "kettle": ("making tea", "copper dented black"), "lantern": ("finding the way at night", "rusty brass storm little"), "ladder": ("reaching high things", "long wobbly wooden old"), "rope": ("tying and pulling", "long thick strong coiled"),
    "basket": ("carrying things", "willow round lidded big"), "bucket": ("carrying water", "tin leaky wooden blue"), "spade": ("digging", "heavy rusty short-handled"), "needle": ("sewing", "silver thin bent"), "blanket": ("keeping warm", "woollen patched striped grey"),
    "umbrella": ("keeping dry", "black huge green torn"), "whistle": ("calling from far away", "tin wooden silver bone"), "drum": ("making a noise", "painted small goatskin"), "fiddle": ("making music", "old scratched cherry-wood"), "flute": ("making music", "reed silver bamboo"),
    "mirror": ("throwing light", "round cracked hand pocket"), "magnifying glass": ("seeing small things", "brass-rimmed scratched"), "compass": ("finding the way", "brass pocket battered"), "map": ("finding the way", "crumpled hand-drawn faded"), "key": ("opening a lock", "iron tiny rusty brass"),
    "bell": ("calling people", "brass cracked little ship's"), "net": ("catching things", "fine long-handled mended"), "sledge": ("pulling loads over snow", "wooden red fast"), "wheelbarrow": ("moving heavy things", "squeaky green one-wheeled"), "broom": ("sweeping", "birch worn-out long"),
    "scarf": ("keeping warm", "long knitted red itchy"), "coat": ("keeping warm", "thick patched blue borrowed"), "hat": ("keeping the sun off", "straw felt floppy feathered"), "boots": ("walking in the wet", "rubber leather muddy"), "candle": ("giving light", "stubby beeswax tall"),
    "pot": ("cooking", "iron big earthen"), "spoon": ("stirring", "wooden silver long"), "cup": ("drinking", "chipped blue tin china"), "kite": ("flying in the wind", "paper red dragon-shaped patched"), "ball": ("playing", "leather bouncy striped rubber"),
    "book": ("reading", "thick torn leather library"), "pencil": ("drawing", "blunt red stubby"), "paintbrush": ("painting", "fine worn squirrel-hair"), "clock": ("telling the time", "old wooden brass loud"), "watch": ("telling the time", "pocket gold stopped"),
    "boat": ("crossing water", "rowing tarred little leaky"), "cart": ("carrying loads", "two-wheeled hay creaking"), "bicycle": ("getting about", "rusty red second-hand"), "hammer": ("mending", "claw heavy small"), "saw": ("cutting wood", "sharp rusty little"),
    "button": ("fastening a coat", "brass mother-of-pearl wooden"), "ring": ("wearing", "silver plain garnet"), "coin": ("buying", "silver bent foreign"), "feather": ("writing", "blue heron's long"), "shell": ("listening to", "pink spiral broken"),
    "doll": ("playing", "rag wooden one-eyed"), "wooden horse": ("playing", "painted three-legged"), "music box": ("playing one tune", "lacquered broken tiny"), "telescope": ("looking far", "brass dented"), "teapot": ("pouring tea", "china cracked yellow"),
    "jar": ("keeping things", "glass honey stone"), "ribbon": ("tying up", "green silk frayed"), "stamp": ("sending a letter", "foreign triangular rare"), "marble": ("playing", "glass green swirled"), "seed": ("planting", "strange striped tiny"), "stone": ("keeping in a pocket", "smooth white striped round"),
    "pillow": ("sleeping", "feather lumpy square"), "loaf": ("eating", "warm crusty rye"), "cheese": ("eating", "round goat's smelly"), "cake": ("eating", "honey plum lopsided"), "sack": ("carrying things", "flour patched empty"), "stool": ("sitting and reaching", "three-legged milking low"),
}
KEEPSAKES = ["button", "ring", "coin", "feather", "shell", "doll", "wooden horse", "music box", "marble", "whistle", "watch", "compass", "scarf", "hat", "key", "flute", "kite", "ball", "book", "stamp", "magnifying glass", "bell", "cup", "pencil", "ribbon", "telescope", "mirror"]
FOODS = """plum cake|ginger biscuits|onion soup|lentil stew|flatbread with honey|dumplings|pancakes|rice pudding|cheese pie|roast chestnuts|apple tart|bean stew|noodle soup|cherry jam|potato cakes
poppy-seed buns|fried plantain|barley broth|corn bread|pea soup|baked pears|spiced rice|walnut bread|fish pie|blackberry crumble|hot chocolate|sweet buns|mushroom soup|date cakes|almond biscuits""".replace("\n", "|").split("|")


def plural(kind):
    """foxes, ponies, wolves, mice, geese."""
    special = {"mouse": "mice", "dormouse": "dormice", "goose": "geese", "wolf": "wolves", "ox": "oxen", "loaf": "loaves", "calf": "calves", "piglet": "piglets", "deer": "deer"}
    if kind in special:
        return special[kind]
    if kind.endswith("y") and kind[-2] not in "aeiou":
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("x", "ch", "sh", "s")) else "s")


HOUSE = "narrow yellow white tall crooked red brick stone wooden blue thin square low pink half-timbered whitewashed small large old rickety".split()
BY = "behind the bakery|at the end of the lane|above the harbour|beside the church|on the edge of the moor|next to the fire station|opposite the market hall|by the railway|under the cliff|on the north side of the river|between two mills|behind the sugar factory|at the foot of the hill|where the tram turned round|by the old lock|on the road to the quarry|above a hat shop|near the salt works|in the shadow of the tower|among the vineyards|at the top of forty steps|across from the brewery|by the ferry|under three lime trees".split("|")
TOWNS = "a town famous for its {n}|a village with {k} {a}|a valley where they made {n}|a village on the {c} river|a small town under the {c} mountain|a village known for its {f}|a town where even the {a} were in a hurry|a village on an island with {k} {a}".split("|")
